"""Generates the messages, stubs and type hints of protos/ into a folder: `python tools/protos.py libs`."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(folder: Path) -> int:
    """Writes `<folder>/retrograde/v1/*`; returns protoc's exit status."""
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    outputs = ["python_out={}", "grpc_python_out={}", "mypy_out=quiet:{}", "mypy_grpc_out=quiet:{}"]
    return int(
        protoc.main(["protoc", f"-I{ROOT / 'protos'}", *(f"--{out.format(folder)}" for out in outputs), *protos])
    )


if __name__ == "__main__":
    sys.exit(generate(Path(sys.argv[1])))
