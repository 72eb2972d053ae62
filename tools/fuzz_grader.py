r"""Fuzzes the grader, guided by coverage: no text may make it raise, answer ERROR, or take seconds.

    python tools/fuzz_grader.py [SECONDS]      `make fuzz SECONDS=600` runs it in an environment of its own

An input is "answer NUL gold". The first ones are the labelled pairs of tests/data/grading; half of the mutations put
pieces of mathematics into them, the other half are libFuzzer's own, on bytes. Each input is graded as it is and in a
box, and its parts are normalised, tokenised and parsed alone. A finding is kept and the fuzzing goes on:

    build/fuzz/corpus/      inputs that reached new code; the next run starts from them
    build/fuzz/findings/    one folder for each kind of finding, with its shortest input

Ends with status 1 if there are findings. The fuzzing itself is a child process, started again if it is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LABELLED = ROOT / "tests/data/grading/labelled.jsonl"
WORK = ROOT / "build/fuzz"
SEEDS, CORPUS, FINDINGS = WORK / "seeds", WORK / "corpus", WORK / "findings"
DEFAULT_SECONDS = 600
SLOW_SECONDS = 3.0
HANG_SECONDS = 30  # then libFuzzer ends the process and leaves the input as timeout-*
MAX_INPUT_BYTES = 1_000
PULSE_SECONDS = 10.0
SHOWN_LINES = 30
CHILD = "--child"
PIECES = (
    *Path(__file__).with_name("fuzz_grader_pieces.txt").read_text(encoding="utf-8").split(),
    *("the answer is ", " ", "\n", "\x00", "\u202e", "\ufeff", "\u200b"),
)


_PULSE = re.compile(r"#(\d+)\s.*?cov: (\d+) ft: (\d+)")


class FoundError(Exception):
    """What must not happen has happened."""


def check(data: bytes) -> None:
    """Grades and parses one input. Raises FoundError, or whatever the grader raises."""
    from retrograde.core.problem import Verdict  # noqa: PLC0415 - the child instruments it first
    from retrograde.grading import grade  # noqa: PLC0415

    answer, _, gold = data.decode("utf-8", "replace").partition("\x00")
    for told in (answer, f"\\boxed{{{answer}}}"):
        began = time.process_time()
        verdict = grade(told, gold or "1").verdict
        if verdict is Verdict.ERROR:
            raise FoundError("verdict ERROR")
        if time.process_time() - began > SLOW_SECONDS:
            raise FoundError(f"more than {SLOW_SECONDS:g} s")
    _check_parser(answer)


def _check_parser(text: str) -> None:
    from retrograde.grading.expression import CostError, UnreadableError  # noqa: PLC0415 - likewise
    from retrograde.grading.normal import normalise  # noqa: PLC0415
    from retrograde.grading.parser import parse  # noqa: PLC0415
    from retrograde.grading.tokens import tokenize  # noqa: PLC0415

    for form in (text, normalise(text)):
        try:
            parse(tokenize(form))
        except (CostError, UnreadableError):
            continue


def kind_of(error: BaseException) -> str:
    """The exception and the innermost line of the grader it came from: one kind of finding."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "retrograde/grading" in frame.filename]
    place = f"{Path(frames[-1].filename).stem}-{frames[-1].name}" if frames else "grade"
    what = str(error) if isinstance(error, FoundError) else type(error).__name__
    return re.sub(r"[^\w.-]+", "-", f"{what}-{place}")


def keep(data: bytes, error: BaseException) -> None:
    """Stores the shortest input of each kind, with its traceback."""
    folder = FINDINGS / kind_of(error)
    folder.mkdir(parents=True, exist_ok=True)
    shortest = folder / "input"
    if not shortest.exists() or len(data) < shortest.stat().st_size:
        shortest.write_bytes(data)
        (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")


def mutated(text: str, source: random.Random) -> str:
    """`text` with a piece put in, taken out, doubled, or put around a stretch of it."""
    start, end = sorted(source.randint(0, len(text)) for _ in range(2))
    end = min(end, start + source.choice((1, 2, 4, 16, 64)))
    piece, stretch = source.choice(PIECES), text[start:end]
    new = source.choice(
        ("", piece, piece + stretch, stretch + piece, f"{piece}{stretch}}}", f"({stretch}){piece}", stretch * 3)
    )
    return text[:start] + new + text[end:]


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half by pieces of mathematics, half by libFuzzer."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415

    source = random.Random(seed)
    if source.random() < 0.5:  # noqa: PLR2004 - half
        return bytes(atheris.Mutate(data, max_size))
    text = data.decode("utf-8", "replace")
    for _ in range(source.choice((1, 1, 2, 4))):
        text = mutated(text, source)
    return text.encode("utf-8", "replace")[:max_size]


def fuzz(seconds: int) -> None:
    """The child: instruments the grader and fuzzes until the time is over."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["retrograde.grading"]):
        check(b"1\x001")

    def test_one_input(data: bytes) -> None:
        try:
            check(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            keep(data, error)

    options = (
        f"-max_total_time={seconds}",
        f"-timeout={HANG_SECONDS}",
        f"-max_len={MAX_INPUT_BYTES}",
        "-print_final_stats=1",
    )
    arguments = [sys.argv[0], *options, f"-artifact_prefix={FINDINGS}/", str(CORPUS), str(SEEDS)]
    atheris.Setup(arguments, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


def write_seeds() -> None:
    """The labelled pairs as inputs, one file each, and what earlier runs found."""
    for folder in (SEEDS, CORPUS, FINDINGS):
        folder.mkdir(parents=True, exist_ok=True)
    for path in FINDINGS.rglob("*"):
        if path.name.startswith(("input", "timeout-", "crash-", "oom-")):
            _write_seed(path.read_bytes())
    shutil.rmtree(FINDINGS)
    FINDINGS.mkdir()
    for line in LABELLED.read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        _write_seed(f"{pair['answer']}\x00{pair['gold']}".encode())


def _write_seed(data: bytes) -> None:
    (SEEDS / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def run_child(seconds: int) -> Iterator[str]:
    """The child's lines; it inherits this environment."""
    command = [sys.executable, __file__, CHILD, str(seconds)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as child:
        yield from child.stderr or ()


def shrink(data: bytes, kind: str) -> bytes:
    """`data` without the stretches that the finding does not need."""
    size = len(data) // 2
    while size:
        start = 0
        while start < len(data):
            shorter = data[:start] + data[start + size :]
            if _kind_found(shorter) == kind:
                data = shorter
            else:
                start += size
        size //= 2
    return data


def _kind_found(data: bytes) -> str | None:
    try:
        check(data)
    except Exception as error:  # noqa: BLE001 - its kind is the answer
        return kind_of(error)
    return None


def report(num_runs: int, edges: str) -> int:
    """Prints the figures and each finding's shortest input; the exit status."""
    print(f"{num_runs} inputs, coverage {edges}")
    folders = sorted(path for path in FINDINGS.iterdir() if path.is_dir())
    hangs = sorted(path for path in FINDINGS.iterdir() if path.is_file())
    for folder in folders:
        data = (folder / "input").read_bytes()
        if "more-than" not in folder.name:
            data = shrink(data, folder.name)
            (folder / "input").write_bytes(data)
        print(f"{folder.name}: {data.decode('utf-8', 'replace')!r}")
    for path in hangs:
        print(f"{path.name}: {path.read_bytes().decode('utf-8', 'replace')!r}")
    print(f"{len(folders) + len(hangs)} kinds of findings")
    return 1 if folders or hangs else 0


def fuzz_for(seconds: int) -> tuple[int, str]:
    """Runs children until the time is over: (inputs graded, coverage). Raises RuntimeError if none starts."""
    give_up = time.monotonic() + seconds
    num_runs, edges, shown = 0, "unknown", 0.0
    while (left := round(give_up - time.monotonic())) > 0:
        num_before, lines = num_runs, deque[str](maxlen=SHOWN_LINES)
        for line in run_child(left):
            lines.append(line)
            if told := _PULSE.match(line):
                num_runs, edges = num_before + int(told[1]), f"{told[2]} edges, {told[3]} features"
                if time.monotonic() - shown > PULSE_SECONDS:
                    shown = time.monotonic()
                    print(f"{num_runs} inputs, coverage {edges}", flush=True)
        if num_runs == num_before:
            raise RuntimeError(f"the fuzzer did not start:\n{''.join(lines)}")
    return num_runs, edges


def main() -> int:
    """The parent, or with --child the fuzzer itself."""
    if sys.argv[1:2] == [CHILD]:
        fuzz(int(sys.argv[2]))
        return 0
    os.environ["PYTHONPATH"] = str(ROOT / "libs")
    sys.path.insert(0, str(ROOT / "libs"))
    write_seeds()
    return report(*fuzz_for(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_SECONDS))


if __name__ == "__main__":
    sys.exit(main())
