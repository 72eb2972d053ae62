"""Which replica a call goes to. Pure: no network, no clock; `replicas` does what is decided here.

    replicas not put aside -> ranked for the key -> the first that is not overloaded

Rendezvous hashing (Thaler and Ravishankar, 1998): each pair of key and replica has a weight, and a key's replicas are
ranked by it. All calls under one key meet the same replica, hence the same prefix cache, and when a replica joins or
leaves only its own keys move. A replica with too many samples in flight passes calls on to the next in the key's rank,
as in consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Spill:
    """A replica is overloaded above `factor` times the mean of samples in flight, and above `floor` (both ours)."""

    factor: float = 2.0
    floor: int = 32

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"factor: {self.factor} could leave no replica to choose; give at least 1")


@dataclass(frozen=True, slots=True)
class Choice:
    """A replica, and how many of the key's order before it were overloaded."""

    address: str
    num_overloaded: int


def ranked(key: str, addresses: Iterable[str]) -> list[str]:
    """`addresses` in the order in which `key` prefers them."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).digest()
    return sorted(addresses, key=lambda address: _weight(digest, address), reverse=True)


def _weight(key_digest: bytes, address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=8, key=key_digest).digest()


class Routes:
    """The replicas, the samples in flight on each, and those put aside with how often they failed in a row."""

    def __init__(self, spill: Spill | None = None) -> None:
        self._spill = spill or Spill()
        self._addresses: tuple[str, ...] = ()
        self._in_flight: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._aside: set[str] = set()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All replicas, those put aside too."""
        return self._addresses

    @property
    def num_aside(self) -> int:
        """Replicas put aside."""
        return len(self._aside)

    def replace(self, addresses: Iterable[str]) -> None:
        """These are the replicas from now on; what is known of those that stay is kept."""
        self._addresses = tuple(dict.fromkeys(addresses))
        gone = self._failures.keys() - set(self._addresses)
        self._aside -= gone
        for address in gone:
            del self._failures[address]

    def choose(self, key: str, without: Collection[str] = ()) -> Choice | None:
        """The replica for a call under `key`, none of `without`; None when all others are put aside."""
        usable = [each for each in self._addresses if each not in self._aside and each not in without]
        if not usable:
            return None
        most = max(self._spill.floor, self._spill.factor * self._mean_in_flight(usable))
        for rank, address in enumerate(ranked(key, usable)):
            if self._in_flight[address] <= most:
                return Choice(address, rank)
        raise AssertionError("some replica has at most the mean in flight")

    def _mean_in_flight(self, addresses: list[str]) -> float:
        return sum(self._in_flight[each] for each in addresses) / len(addresses)

    def in_flight(self, address: str) -> int:
        """Samples this client waits for from `address`, which may be gone."""
        return self._in_flight[address]

    def begin(self, address: str, num_samples: int) -> None:
        """A call for `num_samples` is sent to `address`."""
        self._in_flight[address] += num_samples

    def end(self, address: str, num_samples: int) -> None:
        """That call has ended."""
        self._in_flight[address] -= num_samples
        if not self._in_flight[address]:
            del self._in_flight[address]

    def answered(self, address: str) -> None:
        """A call was answered. One put aside stays so: what it answers may be older than why it was."""
        if address not in self._aside:
            self._failures.pop(address, None)

    def is_aside(self, address: str) -> bool:
        """Whether `address` is put aside."""
        return address in self._aside

    def put_aside(self, address: str) -> bool:
        """No call goes to `address` until `take_back`; False when it is aside already, or no replica any more."""
        if address not in self._addresses or address in self._aside:
            return False
        self._aside.add(address)
        self._failures[address] += 1
        return True

    def take_back(self, address: str) -> None:
        """Calls go to `address` again; its failures are forgotten when it answers one."""
        self._aside.discard(address)

    def still_away(self, address: str) -> None:
        """A probe failed."""
        if address in self._aside:
            self._failures[address] += 1

    def pause_seconds(self, address: str) -> float:
        """How long to wait before `address` is probed (again): doubles with each failure in a row."""
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures[address] - 1, 16), LONGEST_PAUSE_SECONDS)
