"""The `retrograde` command, part four: dead letters, listed, shown, replayed and dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Annotated

import typer

from retrograde.cli.app import app, results
from retrograde.cli.found_run import existing_file
from retrograde.cli.letters import choose, letter_row, letter_view, letters_view
from retrograde.runtime import dead_letters
from retrograde.runtime.adapters import open_broker
from retrograde.runtime.broker import DLQ_SUFFIX, Broker, Message
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.wire.topics import MESSAGE_TYPES

dlq = typer.Typer(
    help="Dead letters: messages that were given up, open until they are replayed or dropped.", no_args_is_help=True
)
app.add_typer(dlq, name="dlq")

BrokerUrl = Annotated[str, typer.Option("--broker", metavar="URL", help="sqlite:///PATH.db or kafka://HOST:PORT,...")]
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="For example retrograde.problems.v1.")]
Places = Annotated[list[str] | None, typer.Argument(metavar="PARTITION:OFFSET...", help="Letters, as `list` has them.")]
Key = Annotated[str, typer.Option("--key", help="All letters with this key.")]
All = Annotated[bool, typer.Option("--all", help="All open letters.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@dlq.command("list", epilog="Example: `retrograde dlq list --broker sqlite:///srv/broker.db retrograde.problems.v1`")
def list_(topic: Topic, *, broker: BrokerUrl, as_json: AsJson = False) -> None:
    """Lists the open letters of TOPIC: where they lie, their keys, since when, how often tried and why given up."""
    with _opened(broker) as opened:
        letters = _letters(opened, topic)
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(letter_row(letter), ensure_ascii=False))
    else:
        results().print(letters_view(topic, letters))


@dlq.command(epilog="Example: `retrograde dlq show --broker sqlite:///srv/broker.db retrograde.problems.v1 3:0`")
def show(topic: Topic, place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET")], *, broker: BrokerUrl) -> None:
    """Shows one letter: all its headers, and its value decoded if the topic's type is known, else in hex."""
    with _opened(broker) as opened:
        (letter,) = choose(_letters(opened, topic), [place], "", everything=False)
    typer.echo(letter_view(_plain(topic), letter))


@dlq.command(epilog="Example: `retrograde dlq replay --broker sqlite:///srv/broker.db retrograde.problems.v1 --all`")
def replay(
    topic: Topic, places: Places = None, *, broker: BrokerUrl, key: Key = "", all_: All = False, dry_run: DryRun = False
) -> None:
    """Puts the original messages on their topic again, byte for byte, and settles their letters.

    When it is interrupted the same command goes on; at most one message is then on its topic twice, which its handler
    takes as once.
    """
    _each(topic, places, broker, key, all_=all_, act=None if dry_run else dead_letters.replay, done="replayed")


@dlq.command(epilog="Example: `retrograde dlq drop --broker sqlite:///srv/broker.db retrograde.problems.v1 3:0 7:2`")
def drop(
    topic: Topic, places: Places = None, *, broker: BrokerUrl, key: Key = "", all_: All = False, dry_run: DryRun = False
) -> None:
    """Settles letters without doing anything about them; their bytes stay until the topic's retention ends."""
    _each(topic, places, broker, key, all_=all_, act=None if dry_run else dead_letters.drop, done="dropped")


def _each(
    topic: str,
    places: list[str] | None,
    url: str,
    key: str,
    *,
    all_: bool,
    act: Callable[[Broker, str, Message], None] | None,
    done: str,
) -> None:
    """Acts on the letters that were chosen, and says so after each; without `act` says what would be done."""
    with _opened(url) as broker:
        for letter in _chosen(broker, topic, places or [], key, all_=all_):
            if act:
                act(broker, _plain(topic), letter)
            typer.echo(f"{done if act else f'would be {done}'}: {dead_letters.place_of(letter)} {letter.key}")


def _chosen(broker: Broker, topic: str, places: list[str], key: str, *, all_: bool) -> Iterator[Message]:
    if sum(map(bool, (places, key, all_))) != 1:
        raise typer.BadParameter("name letters by PARTITION:OFFSET, or by --key, or take --all", param_hint="letters")
    yield from choose(_letters(broker, topic), places, key, everything=all_)


def _opened(url: str) -> closing[Broker]:
    return closing(open_broker(existing_file("--broker", url)))


def _letters(broker: Broker, topic: str) -> list[Message]:
    """The open letters. Raises NotFoundError in the terms of whoever typed the topic."""
    plain = _plain(topic)
    try:
        return dead_letters.open_letters(broker, plain)
    except NotFoundError as error:
        raise NotFoundError(
            f"TOPIC: {plain!r} has no dead letters in this broker, nor ever had any: nobody works on a topic of that "
            f"name there; those of the platform are {', '.join(sorted(MESSAGE_TYPES))}"
        ) from error


def _plain(topic: str) -> str:
    if topic.endswith(DLQ_SUFFIX):
        raise InvalidInputError(f"TOPIC: {topic!r} is a dead-letter topic; write {topic.removesuffix(DLQ_SUFFIX)!r}")
    return topic
