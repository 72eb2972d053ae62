"""What producers, consumers and the admin client of kafka-python have in common."""

from __future__ import annotations

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

_ANSWER_MILLISECONDS = 5000


def answers(address: str) -> bool:
    """Whether the broker at host:port, in the clear, tells about its cluster."""
    try:
        client = KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=_ANSWER_MILLISECONDS)
    except KafkaError:
        return False
    client.close()
    return True
