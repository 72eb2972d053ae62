"""Generates the messages, stubs and type hints of protos/ into a folder: `python tools/protos.py libs`."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(folder: Path) -> int:
    """Writes `<folder>/retrograde/v1/*`; returns protoc's exit status."""
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    outputs = ["python_out={}", "grpc_python_out={}", "mypy_out=quiet:{}", "mypy_grpc_out=quiet:{}"]
    includes = [f"-I{ROOT / 'protos'}", f"-I{files('grpc_tools') / '_proto'}"]
    return int(protoc.main(["protoc", *includes, *(f"--{out.format(folder)}" for out in outputs), *protos]))


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1])))
