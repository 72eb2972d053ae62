"""What is asked of a Kafka cluster for a topic, and what its refusals mean, against a cluster in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import pytest
from kafka import errors as kafka_errors
from kafka.admin import KafkaAdminClient

from retrograde.runtime.adapters.kafka_settings import KafkaSettings
from retrograde.runtime.adapters.kafka_topics import KafkaTopics
from retrograde.runtime.errors import ForbiddenError, NotFoundError, RetrogradeError, UnavailableError

SETTINGS = KafkaSettings("kafka://h:1?username_file=/u&password_file=/p", ("h:1",))
NO_ERROR = 0


class ClusterInMemory:
    """Has `topics`; answers what is made with `on_create`, and questions about others with `on_describe`."""

    def __init__(
        self,
        topics: Iterable[str] = (),
        on_create: int = NO_ERROR,
        on_describe: int = kafka_errors.UnknownTopicOrPartitionError.errno,
    ) -> None:
        self.topics = set(topics)
        self.on_create = on_create
        self.on_describe = on_describe
        self.asked_for: list[str] = []

    def create_topics(self, wanted: Mapping[str, object], *, raise_errors: bool) -> dict[str, Any]:
        assert not raise_errors
        self.asked_for += wanted
        if not self.on_create:
            self.topics |= wanted.keys()
        answers = [{"name": name, "error_code": self.on_create, "error_message": "no"} for name in wanted]
        return {"topics": answers}

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [
            {"name": name, "error_code": NO_ERROR, "partitions": [{"partition_index": 0}]}
            if name in self.topics
            else {"name": name, "error_code": self.on_describe, "partitions": []}
            for name in names
        ]

    def wait_for_topics(self, names: list[str], _milliseconds: int) -> None:
        if not self.topics.issuperset(names):
            raise kafka_errors.KafkaTimeoutError


def topics_of(cluster: ClusterInMemory) -> KafkaTopics:
    return KafkaTopics(cast("KafkaAdminClient", cluster), SETTINGS)


def refused(cluster: ClusterInMemory) -> RetrogradeError:
    with pytest.raises(RetrogradeError) as caught:
        topics_of(cluster).create("t", 4)
    return caught.value


def test_topics_that_exist_need_no_right_to_make_them() -> None:
    """Whoever runs the cluster may make them beforehand: only what is missing is asked for."""
    denied = kafka_errors.TopicAuthorizationFailedError.errno
    topics_of(ClusterInMemory({"t", "t.dlq"}, on_create=denied)).create("t", 4)
    topics_of(half := ClusterInMemory({"t"})).create("t", 4)
    assert half.asked_for == ["t.dlq"]


@pytest.mark.parametrize("call", ["on_create", "on_describe"])
def test_a_right_that_is_lacking_is_no_absence(call: str) -> None:
    """The error says what is refused, where the client is named, and that the right has to be granted."""
    error = refused(ClusterInMemory(**{call: kafka_errors.TopicAuthorizationFailedError.errno}))
    assert isinstance(error, ForbiddenError)
    assert "TopicAuthorizationFailedError" in str(error)
    assert "grant it to the client of username_file or cert_file" in str(error)


def test_copies_that_the_cluster_cannot_make_yet_are_waited_for() -> None:
    """Its other brokers may still be starting; the error names the number."""
    error = refused(ClusterInMemory(on_create=kafka_errors.InvalidReplicationFactorError.errno))
    assert type(error) is UnavailableError
    assert "InvalidReplicationFactorError" in str(error)


def test_a_topic_that_is_missing_is_not_found() -> None:
    """The error names it."""
    with pytest.raises(NotFoundError, match="there is no topic 't'"):
        topics_of(ClusterInMemory()).partitions("t")
