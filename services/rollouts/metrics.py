"""What the rollouts service counts."""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

_BOUNDS = [2**power for power in range(4, 17)]

SAMPLES = Counter("retrograde_rollouts_samples_total", "Samples drawn, by verdict.", ["verdict"])
UNGRADED = Counter("retrograde_rollouts_ungraded_samples_total", "Samples left out: the verifier gave no verdict.")
GROUPS = Counter("retrograde_rollouts_groups_total", "Groups, by what became of them.", ["outcome"])
SWAP_SECONDS = Histogram("retrograde_rollouts_policy_swap_seconds", "Seconds requests waited for new weights.")


class SampleTokens(Collector):
    """A histogram that takes a group's lengths in one step, and sorts them into buckets when it is read."""

    def __init__(self) -> None:
        self.lengths: defaultdict[str, Tally[int]] = defaultdict(Tally)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """One distribution of each outcome."""
        family = HistogramMetricFamily(
            "retrograde_rollouts_sample_tokens",
            "Tokens of samples, by what became of their group: sum over count is the mean length of kept and dropped.",
            labels=["outcome"],
        )
        for outcome, tally in list(self.lengths.items()):
            lengths = dict(tally)
            counts = [(str(float(each)), sum(lengths[n] for n in lengths if n <= each)) for each in _BOUNDS]
            buckets = [*counts, ("+Inf", sum(lengths.values()))]
            family.add_metric([outcome], buckets, sum(n * count for n, count in lengths.items()))
        yield family


SAMPLE_TOKENS = SampleTokens()
REGISTRY.register(SAMPLE_TOKENS)


def observe(lengths: Iterable[int], outcome: str) -> None:
    """Counts a group and its samples, of so many tokens each."""
    GROUPS.labels(outcome=outcome).inc()
    SAMPLE_TOKENS.lengths[outcome].update(lengths)
