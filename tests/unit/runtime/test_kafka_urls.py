"""What a kafka:// URL may say, and what is told about one that says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.runtime.adapters.kafka_settings import KafkaSettings, parse_kafka_url
from retrograde.runtime.adapters.kafka_topics import policy
from retrograde.runtime.adapters.limits import check_size
from retrograde.runtime.errors import InvalidInputError


def test_a_url_with_everything() -> None:
    """Each parameter becomes a setting."""
    url = (
        "kafka://one:9092,[::1]:9093?ca_file=/ca&cert_file=/cert&key_file=/key&username_file=/user&password_file=/pass"
        "&mechanism=SCRAM-SHA-512&session_seconds=1.5&poll_seconds=20&replication=3"
    )
    assert parse_kafka_url(url) == KafkaSettings(
        url=url,
        bootstrap=("one:9092", "[::1]:9093"),
        ca_file=Path("/ca"),
        cert_file=Path("/cert"),
        key_file=Path("/key"),
        username_file=Path("/user"),
        password_file=Path("/pass"),
        mechanism="SCRAM-SHA-512",
        session_seconds=1.5,
        poll_seconds=20.0,
        replication=3,
    )


@pytest.mark.parametrize(
    ("parameters", "protocol"),
    [
        ("", "PLAINTEXT"),
        ("?ca_file=/ca", "SSL"),
        ("?username_file=/u&password_file=/p", "SASL_PLAINTEXT"),
        ("?ca_file=/ca&username_file=/u&password_file=/p", "SASL_SSL"),
    ],
)
def test_the_parameters_choose_the_protocol(parameters: str, protocol: str) -> None:
    """A ca_file means TLS, a username_file means SASL."""
    assert parse_kafka_url(f"kafka://h:1{parameters}").protocol == protocol


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "address '' is not HOST:PORT"),
        ("h", "address 'h' is not HOST:PORT"),
        ("h:1,", "address '' is not HOST:PORT"),
        ("h:0", "address 'h:0' is not HOST:PORT"),
        ("h:70000", "address 'h:70000' is not HOST:PORT"),
        ("h:1?sesion_seconds=2", "parameter 'sesion_seconds' is unknown; did you mean session_seconds?"),
        ("h:1?x=2", "parameter 'x' is unknown; known are ca_file, "),
        ("h:1?ca_file=", "parameter ca_file is empty"),
        ("h:1?ca_file=/a&ca_file=/b", "parameter ca_file is given twice"),
        ("h:1?ca_file=a", "ca_file 'a' is not an absolute path"),
        ("h:1?cert_file=/a", "cert_file and key_file belong together"),
        ("h:1?password_file=/a", "username_file and password_file belong together"),
        ("h:1?mechanism=SCRAM-SHA-512", "mechanism needs username_file and password_file"),
        ("h:1?username_file=/u&password_file=/p&mechanism=GSSAPI", "mechanism 'GSSAPI' is none of SCRAM-SHA-256,"),
        ("h:1?username_file=/u&password_file=/p&mechanism=PLAIN", "PLAIN would send the password in the clear"),
        ("h:1?session_seconds=0", "session_seconds '0' is no number from 0.5 to 1800"),
        ("h:1?session_seconds=nan", "session_seconds 'nan' is no number from 0.5 to 1800"),
        ("h:1?replication=1.5", "replication '1.5' is no number from 1 to 9"),
    ],
)
def test_a_faulty_url_is_refused(rest: str, words: str) -> None:
    """The error holds the URL, the part that is wrong and the form."""
    with pytest.raises(InvalidInputError) as caught:
        parse_kafka_url(f"kafka://{rest}")
    assert f"'kafka://{rest}'" in str(caught.value)
    assert words in str(caught.value)
    assert "write kafka://HOST:PORT" in str(caught.value)


def test_what_topics_keep() -> None:
    """Dead letters are kept longer than messages, checkpoints for ever and by key; dead letters may be larger."""
    day = 86_400_000
    policies = [policy(f"retrograde.{name}.v1") for name in ("problems", "checkpoints")]
    letters = policy("retrograde.checkpoints.v1.dlq")
    assert [each["cleanup.policy"] for each in (*policies, letters)] == ["delete", "compact", "delete"]
    assert [int(each["retention.ms"]) for each in (*policies, letters)] == [30 * day, -1, 90 * day]
    assert int(letters["max.message.bytes"]) > int(policies[0]["max.message.bytes"])


def test_messages_carry_the_time_of_the_broker() -> None:
    """On every topic: the broker refuses messages that a clock an hour ahead of it has dated."""
    topics = ("retrograde.problems.v1", "retrograde.checkpoints.v1", "retrograde.problems.v1.dlq")
    assert {policy(topic)["message.timestamp.type"] for topic in topics} == {"LogAppendTime"}


def test_a_message_that_is_too_large_is_refused() -> None:
    """Key, value and headers count together; a dead letter may be 64 KiB larger."""
    check_size("t", "k" * 10, b"x" * 999_980, {"name": "value!"})
    with pytest.raises(InvalidInputError, match="'t' with key 'kkkkkkkkkk' has 1,000,001 bytes, at most 1,000,000"):
        check_size("t", "k" * 10, b"x" * 999_981, {"name": "value!"})
    check_size("t.dlq", "k", b"x" * 1_060_000, {})
