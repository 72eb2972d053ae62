"""A TCP proxy that a test puts before a real server, to break what goes through it.

    with Proxy(port) as proxy:
        proxy.up.cut(after_bytes=1_000_000)      towards the server: the connection breaks, once
        proxy.down.damage(at_byte=500)           from the server: one bit is flipped, once
        proxy.down.stall(after_bytes=0)          nothing moves on that connection until `heal`
        proxy.up.delay_seconds = 0.01            before each piece
        proxy.lose_answer_to(b"<Complete")       the server does what it was asked; its answer never arrives, once
        proxy.refuse()                           open connections break and new ones are refused until `heal`

Bytes are counted from the moment a fault is set, over all connections. `num_faults` tells whether it happened.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
_PIECE_BYTES = 1 << 16


class Direction:
    """What happens to the bytes that go one way."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.num_bytes = 0
        self.num_faults = 0
        self._lock = threading.Lock()
        self._moving = threading.Event()
        self._fault: tuple[Literal["cut", "damage", "stall"], int] | None = None

    def cut(self, after_bytes: int) -> None:
        """Breaks the connection that brings the byte after these."""
        self._set("cut", after_bytes)

    def damage(self, at_byte: int) -> None:
        """Flips a bit of the byte at this place."""
        self._set("damage", at_byte)

    def stall(self, after_bytes: int) -> None:
        """Holds the connection that brings the byte after these."""
        self._set("stall", after_bytes)

    def heal(self) -> None:
        """Everything moves again."""
        self._fault, self.delay_seconds = None, 0.0
        self._moving.set()

    def take(self, piece: bytes) -> bytes:
        """What is passed on. Raises ConnectionAbortedError where it is cut."""
        time.sleep(self.delay_seconds)
        with self._lock:
            start, self.num_bytes = self.num_bytes, self.num_bytes + len(piece)
            if self._fault is None or self._fault[1] >= self.num_bytes:
                return piece
            (kind, place), self._fault = self._fault, None
            self.num_faults += 1
        if kind == "cut":
            raise ConnectionAbortedError
        if kind == "stall":
            self._moving.wait()
            return piece
        at = place - start
        return piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]

    def _set(self, kind: Literal["cut", "damage", "stall"], place: int) -> None:
        with self._lock:
            self.num_bytes, self.num_faults = 0, 0
            self._fault = (kind, place)
            self._moving.clear()


@dataclass(eq=False)
class _Pair:
    """A client's connection and ours to the server."""

    client: socket.socket
    server: socket.socket
    answer_is_lost: bool = False

    def close(self) -> None:
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Proxy:
    """Listens on `port` of loopback and passes on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self.up, self.down = Direction(), Direction()
        self.num_lost_answers = 0
        self.max_open = 0
        self._target_port = target_port
        self._pairs: set[_Pair] = set()
        self._lost: bytes | None = None
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def lose_answer_to(self, words: bytes) -> None:
        """Breaks the connection on which a request with `words` was sent when its answer comes."""
        self._lost = words

    def refuse(self) -> None:
        """As if nobody listened."""
        self._shut(self._listener)
        for pair in list(self._pairs):
            pair.close()

    def heal(self) -> None:
        """Ends every fault."""
        self.up.heal()
        self.down.heal()
        self._lost = None
        if self._listener.fileno() < 0:
            self._listener = self._listen(self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.up.heal()
        self.down.heal()
        self.refuse()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    @staticmethod
    def _shut(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes its thread
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                pair = _Pair(client, socket.create_connection((HOST, self._target_port)))
            except OSError:
                client.close()
                continue
            self._pairs.add(pair)
            self.max_open = max(self.max_open, len(self._pairs))
            for way in (self._upwards, self._downwards):
                threading.Thread(target=self._run, args=(way, pair), daemon=True).start()

    def _run(self, way: Callable[[_Pair], None], pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            way(pair)
        pair.close()
        self._pairs.discard(pair)

    def _upwards(self, pair: _Pair) -> None:
        while piece := pair.client.recv(_PIECE_BYTES):
            if self._lost is not None and self._lost in piece:
                self._lost, pair.answer_is_lost = None, True
            pair.server.sendall(self.up.take(piece))

    def _downwards(self, pair: _Pair) -> None:
        while piece := pair.server.recv(_PIECE_BYTES):
            if pair.answer_is_lost:
                self.num_lost_answers += 1
                return
            pair.client.sendall(self.down.take(piece))
