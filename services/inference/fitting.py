"""Whether a checkpoint may replace another in place: same tensors, same shapes, same forward pass.

Only headers of safetensors files are read. What decides the forward pass is compared too: an engine goes on with the
configuration it was started with, and would answer otherwise after a restart.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_HEADER_BYTES = 100 * 1024 * 1024
_OPTIONAL_TENSORS = {"lm_head.weight"}  # written or left out when tied to the embedding
_FORWARD_PASS = (
    "architectures",
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "sliding_window",
    "tie_word_embeddings",
)


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Name -> shape of every tensor of the safetensors files in `folder`, read from their headers only.

    Raises:
        InvalidInputError: no such file, or one that is not safetensors.
    """
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= {name: entry["shape"] for name, entry in _header(file).items() if name != "__metadata__"}
    if not shapes:
        raise InvalidInputError(f"checkpoint: {folder} holds no *.safetensors; publish a Hugging Face directory")
    return shapes


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    """The JSON header of a safetensors file: 8 bytes little-endian length, then the text."""
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == struct.calcsize("<Q") else 0
        text = stream.read(length) if 0 < length <= _LONGEST_HEADER_BYTES else b""
    try:
        header: dict[str, dict[str, list[int]]] = json.loads(text)
    except ValueError:
        raise InvalidInputError(f"checkpoint: {file.name} is not a safetensors file; write it again") from None
    return header


def check_fits(new: Path, served: Path) -> None:
    """Raises InvalidInputError, naming the first thing that differs, unless `new` can replace `served` in place."""
    _check_config(_config(new), _config(served))
    ours, theirs = tensor_shapes(served), tensor_shapes(new)
    for name in sorted((ours.keys() ^ theirs.keys()) - _OPTIONAL_TENSORS):
        where = "missing" if name in ours else "not in the served model"
        raise InvalidInputError(f"checkpoint: tensor {name} is {where}; publish a checkpoint of the same model")
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            raise InvalidInputError(
                f"checkpoint: tensor {name} has shape {theirs[name]}, the served model {ours[name]}; "
                "publish a checkpoint of the same model"
            )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError("checkpoint: config.json is missing; publish a whole Hugging Face directory") from None
    except ValueError:
        raise InvalidInputError("checkpoint: config.json is not JSON; write it again") from None
    return config


def _check_config(new: dict[str, Any], served: dict[str, Any]) -> None:
    for name in _FORWARD_PASS:
        if name in new and name in served and new[name] != served[name]:
            raise InvalidInputError(
                f"checkpoint: config.json says {name} {new[name]!r}, the served model {served[name]!r}; "
                "publish a checkpoint of the same model"
            )
