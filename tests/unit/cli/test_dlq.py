"""`retrograde dlq` on a broker's file: what it lists, shows, replays and drops, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retrograde.cli.__main__ import main
from retrograde.cli.letters import letters_view
from retrograde.runtime.adapters import open_broker
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.dead_letters import dead_letter_headers, open_letters
from retrograde.runtime.reading import everything
from retrograde.v1 import messages_pb2
from retrograde.wire.topics import PROBLEMS_TOPIC

Command = Callable[..., tuple[int, str, str]]
QUEUED = messages_pb2.ProblemQueued(run_id="r1", settings_key="runs/r1/recipe.json")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/b.db"


@pytest.fixture
def broker(url: str) -> Broker:
    """Letters of the keys a, b and c, b being no ProblemQueued."""
    broker = open_broker(url)
    broker.create_topic(PROBLEMS_TOPIC, 2)
    for key, value in (("a", QUEUED.SerializeToString()), ("b", b"\xff\x00not one"), ("c", b"")):
        message = Message(PROBLEMS_TOPIC, 0, 7, key, value, {"own": "1"}, 12.5)
        headers = dead_letter_headers(message, 3, OSError("disk\nfull"))
        broker.publish(PROBLEMS_TOPIC + ".dlq", key, value, {**message.headers, **headers})
    return broker


@pytest.fixture
def dlq(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Status, stdout and stderr of `retrograde dlq COMMAND TOPIC ...`."""

    def call(command: str, *arguments: str, topic: str = PROBLEMS_TOPIC) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["retrograde", "dlq", command, "--broker", url, topic, *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return call


def place(broker: Broker, key: str) -> str:
    (found,) = [each for each in open_letters(broker, PROBLEMS_TOPIC) if each.key == key]
    return f"{found.partition}:{found.offset}"


def test_the_list_names_each_letter_and_why(broker: Broker, dlq: Command) -> None:
    """Key, place, attempts and error, on a table and as JSON."""
    status, table, _ = dlq("list")
    assert status == 0
    assert table.startswith(f"3 open dead letters of {PROBLEMS_TOPIC}")
    assert table.count(r"OSError: disk\nfull") == 3
    rows = [json.loads(line) for line in dlq("list", "--json")[1].splitlines()]
    assert {f"{row['partition']}:{row['offset']}": row["key"] for row in rows} == {
        place(broker, key): key for key in "abc"
    }
    assert {(row["attempts"], row["error_type"]) for row in rows} == {("3", "OSError")}


def test_a_known_type_is_decoded(broker: Broker, dlq: Command) -> None:
    """`show` has the headers, and the value as text."""
    status, shown, _ = dlq("show", place(broker, "a"))
    assert status == 0
    assert "x-original-offset: 7\n" in shown
    assert 'run_id: "r1"\n' in shown


def test_what_cannot_be_decoded_is_shown_in_hex(broker: Broker, dlq: Command) -> None:
    """Bytes that are no message of the topic's type."""
    assert "9 bytes\nff 00 6e 6f 74 20 6f 6e 65\n" in dlq("show", place(broker, "b"))[1]


def test_replay_and_drop_settle_what_was_chosen(broker: Broker, dlq: Command) -> None:
    """By key, by place, then all that is left."""
    gone = place(broker, "b")
    assert dlq("replay", "--key", "a")[1].startswith("replayed: ")
    assert dlq("drop", gone)[1] == f"dropped: {gone} b\n"
    assert [letter.key for letter in open_letters(broker, PROBLEMS_TOPIC)] == ["c"]
    assert dlq("replay", "--all")[0] == 0
    assert len(open_letters(broker, PROBLEMS_TOPIC)) == 0
    assert sorted(each.key for each in everything(broker, PROBLEMS_TOPIC)) == ["a", "c"]
    assert dlq("list")[1].startswith("0 open dead letters")


@pytest.mark.parametrize("command", ["replay", "drop"])
def test_a_dry_run_changes_nothing(broker: Broker, dlq: Command, command: str) -> None:
    """It says what would be done; all letters stay open, and nothing is on the topic."""
    status, said, _ = dlq(command, "--all", "--dry-run")
    assert (status, said.count("would be ")) == (0, 3)
    assert (len(open_letters(broker, PROBLEMS_TOPIC)), list(everything(broker, PROBLEMS_TOPIC))) == (3, [])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("replay",), "name letters by PARTITION:OFFSET, or by --key, or take --all"),
        (("drop", "--all", "0:1"), "name letters by PARTITION:OFFSET, or by --key, or take --all"),
        (("show", "first"), "write for example 3:17"),
        (("show", "1:99"), "no open letter at 1:99"),
    ],
)
def test_a_wrong_choice_is_refused(broker: Broker, dlq: Command, arguments: tuple[str, ...], fault: str) -> None:
    """One line that says what to write, status 2, and every letter is still open."""
    status, said, error = dlq(*arguments)
    assert (status, said) == (2, "")
    assert fault in error
    assert len(open_letters(broker, PROBLEMS_TOPIC)) == 3


@pytest.mark.usefixtures("broker")
def test_a_dead_letter_topic_is_not_taken_for_its_topic(dlq: Command) -> None:
    """TOPIC.dlq is refused with the topic to write."""
    status, _, error = dlq("list", topic=PROBLEMS_TOPIC + ".dlq")
    assert (status, f"write '{PROBLEMS_TOPIC}'" in error) == (2, True)


def test_a_key_cannot_draw_on_the_terminal() -> None:
    """Escape sequences and markup of a key are shown as text."""
    table = letters_view("t", [Message("t.dlq", 0, 0, "\x1b[2J[red]k", b"")])
    assert list(table.columns[1].cells) == ["\\x1b\\[2J\\[red]k"]


def test_a_broker_file_that_is_not_there_is_refused_and_not_made(tmp_path: Path, url: str, dlq: Command) -> None:
    """The error names the option and the path; no empty file is left under a misspelt name."""
    status, _, told = dlq("list")
    assert (status, told) == (2, f"error: --broker: {url.removeprefix('sqlite://')} does not exist; correct the path\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("broker")
def test_an_unknown_topic_is_told_with_the_known_ones(dlq: Command) -> None:
    """In the words of whoever typed it: no advice for programmers."""
    status, _, told = dlq("list", topic="retrograde.problem.v1")
    assert status == 2
    assert "TOPIC: 'retrograde.problem.v1' has no dead letters" in told
    assert PROBLEMS_TOPIC in told
    assert "create_topic" not in told
