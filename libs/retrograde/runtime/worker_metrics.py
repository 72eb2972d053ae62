"""What queue workers count; docs/work_plane.md says what each figure is for."""

from __future__ import annotations

from retrograde.runtime import metrics

MESSAGES = metrics.counter("worker", "messages_total", "Messages settled", ("topic", "outcome"))
RETRIES = metrics.counter("worker", "retries_total", "Attempts after the first", ("topic",))
REDELIVERIES = metrics.counter("worker", "redeliveries_total", "Messages that came to this process again", ("topic",))
REVOKED = metrics.counter("worker", "revoked_partitions_total", "Partitions lost with messages in hand", ("topic",))
IN_FLIGHT = metrics.gauge("worker", "in_flight_messages", "Messages being handled", ("topic",))
SECONDS = metrics.histogram("worker", "handling_seconds", "Delivery to settled, retries included", ("topic",))
LAG = metrics.gauge("worker", "lag_messages", "Messages not yet committed by the group", ("topic", "group"))
DEAD_LETTERS = metrics.gauge("worker", "dead_letters", "Dead letters neither replayed nor dropped", ("topic",))
