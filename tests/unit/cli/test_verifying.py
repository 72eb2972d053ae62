"""`retrograde verify`: verdicts in order, from processes that may hang or die without taking the others along."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from itertools import count
from pathlib import Path

import pytest

from retrograde.cli import verifying
from retrograde.cli.__main__ import main
from retrograde.cli.judging import TASK, BareAnswer
from retrograde.cli.verifying import Pair, read_pairs, verdict_blocks, write_verdicts
from retrograde.core.problem import Problem, Verdict
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.runtime.errors import InvalidInputError
from retrograde.sandbox.limits import Limits
from retrograde.wire.disagreement import Disagreement, Opinion
from tests.integration.verifier.serving import HOSTILE


def judge(answer: str, gold: str) -> Verdict:
    return TASK.grade(Problem("p", TASK.name, "", gold), answer).verdict


def verdicts(pairs: Iterable[Pair]) -> list[str]:
    out = io.StringIO()
    asyncio.run(write_verdicts(pairs, out))
    return [json.loads(line)["verdict"] for line in out.getvalue().splitlines()]


def test_reading_pairs(tmp_path: Path) -> None:
    """Texts are taken as they are, numbers as they are written, however long; the question is optional."""
    path = tmp_path / "answers.jsonl"
    digits = "7" * 5000
    path.write_text(
        f'{{"answer": "a\u2028b", "gold": 1.50}}\n{{"answer": {digits}, "gold": "g", "question": "q?"}}\n', "utf-8"
    )
    assert list(read_pairs(path)) == [Pair("a\u2028b", "1.50"), Pair(digits, "g", "q?")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: not JSON"),
        (b"", "line 2: not JSON"),
        (b"\xff", "line 2: not UTF-8"),
        (b"[" * 100_000, "line 2: nested too deep"),
        (b"[1, 2]", r"line 2: needs .* not '\[1, 2\]'"),
        (b'{"answer": "1"}', "line 2: 'gold' must be a text or a number, not null"),
        (b'{"answer": true, "gold": "1"}', "line 2: 'answer' must be a text or a number, not true"),
        (b'{"answer": "1", "gold": "1", "question": []}', "line 2: 'question' must be"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    """The error names the file, the line and what is wrong; the lines before have been read."""
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"answer": "1", "gold": "1"}\n' + line + b"\n")
    pairs = read_pairs(path)
    assert next(pairs) == Pair("1", "1")
    with pytest.raises(InvalidInputError, match=f"answers.jsonl: {said}"):
        next(pairs)


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("0.5", "1/2", Verdict.CORRECT),
        ("3", "4", Verdict.INCORRECT),
        ("3*7+7", "3 7 7 -> 28", Verdict.CORRECT),
        ("3*7+3", "3 7 7 -> 28", Verdict.INCORRECT),
        ("__import__('os')", "3 7 7 -> 28", Verdict.UNPARSABLE),
    ],
)
def test_judge(answer: str, gold: str, verdict: Verdict) -> None:
    """Plain golds are compared by value, numbers with a target ask for an expression over them."""
    assert judge(answer, gold) is verdict


def test_the_question_says_what_a_letter_means() -> None:
    """An answer that names an option by its words is right when the gold names it by its letter."""
    question = "Which is it? (A) Rome (B) Paris (C) Oslo"
    assert verdicts([Pair("Paris", "B", question), Pair("Oslo", "B", question)]) == ["correct", "incorrect"]


def test_lines_come_in_order() -> None:
    """One verdict for each pair, in the pairs' order, also when there are more than are sent at once."""
    pairs = [Pair(str(n), str(n - n % 2)) for n in range(3 * verifying.BLOCK_LINES // 2)]
    assert verdicts(pairs) == ["correct", "incorrect"] * (len(pairs) // 2)


def test_nothing_to_judge() -> None:
    """An empty file has no verdicts."""
    assert verdicts([]) == []


def test_a_line_that_hangs_or_kills_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a timeout or an error, never incorrect, and the lines beside it keep their verdicts and places."""
    monkeypatch.setattr(BareAnswer, "name", HOSTILE)
    limits = Limits(tasks=(HOSTILE,), deadline_seconds=1.0)
    texts = ["ok", "loop", "no", "abort", "ok"]
    out = io.StringIO()

    async def write() -> None:
        async for block in verdict_blocks([Pair(text, "ok") for text in texts], limits):
            out.write(block)

    asyncio.run(write())
    found = [json.loads(line)["verdict"] for line in out.getvalue().splitlines()]
    assert found == ["correct", "timeout", "incorrect", "error", "correct"]


def test_half_a_surrogate_pair_is_judged() -> None:
    """What JSON can spell and UTF-8 cannot is judged like any other text."""
    assert verdicts([Pair("\ud800", "1"), Pair("1", "1")]) == ["unparsable", "correct"]


def test_an_endless_file_is_judged_as_it_comes() -> None:
    """Verdicts come while the input goes on: only the blocks at work are in memory."""
    num_read = 0

    def endless() -> Iterator[Pair]:
        nonlocal num_read
        for num_read in count(1):  # noqa: B007 - looked at below
            yield Pair("1", "1")

    async def first() -> list[str]:
        blocks = verdict_blocks(endless())
        found = [block async for block in _take(blocks, 2)]
        await blocks.aclose()
        return found

    assert [block.count("\n") for block in asyncio.run(first())] == [verifying.BLOCK_LINES] * 2
    assert num_read <= (verifying.MAX_BLOCKS + 2) * verifying.BLOCK_LINES


async def _take(blocks: AsyncGenerator[str, None], wanted: int) -> AsyncIterator[str]:
    for _ in range(wanted):
        yield await anext(blocks)


def test_verdicts_before_a_fault_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A faulty line ends the command with status 2, after the verdicts of the lines before it."""
    path = tmp_path / "answers.jsonl"
    good = '{"answer": "1", "gold": "1"}\n'
    path.write_text(good * 700 + "oops\n" + good, "utf-8")
    status, out, err = run_command(capsys, "verify", "--jsonl", str(path))
    assert (status, len(out.splitlines())) == (2, 700)
    assert err.endswith("answers.jsonl: line 701: not JSON (Expecting value); correct or delete the line\n")


def test_a_reader_who_has_seen_enough(tmp_path: Path) -> None:
    """When the pipe closes early, as `| head` does, the command ends at once and says nothing."""
    path = tmp_path / "answers.jsonl"
    path.write_text('{"answer": "1", "gold": "1"}\n' * 50_000, "utf-8")
    command = [sys.executable, "-m", "retrograde.cli", "verify", "--jsonl", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["verdict"] == "correct"
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["retrograde", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


FOUND = Disagreement(
    "so \\boxed{1}", "2", "[red]1+1?", "math", Opinion("correct", "because"), Opinion("incorrect", "therefore")
)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_disagreements_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str) -> None:
    """The table shows answer, gold, question, both verdicts and reasons, of a directory or a URL."""
    DirectoryStore(tmp_path).put(FOUND.key, FOUND.to_json())
    status, out, _ = run_command(capsys, "verify", "--disagreements", f"{scheme}{tmp_path}")
    assert status == 0
    for shown in ("disagreements: 1", "so \\boxed{1}", "[red]1+1?", "correct", "because", "incorrect", "therefore"):
        assert shown in out


def test_disagreements_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json there is one object a line, whole."""
    DirectoryStore(tmp_path).put(FOUND.key, FOUND.to_json())
    _, out, _ = run_command(capsys, "verify", "--disagreements", str(tmp_path), "--json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "answer": "so \\boxed{1}",
            "gold": "2",
            "question": "[red]1+1?",
            "task": "math",
            "ours": {"verdict": "correct", "reason": "because"},
            "theirs": {"verdict": "incorrect", "reason": "therefore"},
        }
    ]


@pytest.mark.parametrize("place", ["no/such/folder", "s3://bucket"])
def test_disagreements_of_nowhere(capsys: pytest.CaptureFixture[str], place: str) -> None:
    """A place that is none is refused, and not made."""
    status, _, err = run_command(capsys, "verify", "--disagreements", place)
    assert (status, err.count("\n"), Path(place).exists()) == (2, 1, False)
    assert place in err


def test_an_object_that_is_no_disagreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with the way out."""
    DirectoryStore(tmp_path).put("disagreements/x.json", b"{}")
    status, _, err = run_command(capsys, "verify", "--disagreements", str(tmp_path))
    assert status == 1
    assert "disagreements/x.json: is no disagreement" in err
