"""All randomness of the project: cheap streams keyed by (seed, number, purpose).

A stream never depends on what was drawn elsewhere, so a study can be replayed, resumed and run in
parallel without saving generator states. Bits come from BLAKE2b in counter mode.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_BLOCK = 512  # bits of one BLAKE2b digest
_RESERVE = 1 << 64  # draw a new block when fewer bits are left: bias of one draw below n is under n / 2**64
_blake = hashlib.blake2b


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for another generator, from a seed and any key parts."""
    digest = _blake(repr((seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Stream:
    """Random draws from one key. `stream(seed, number, purpose)` makes one in about 2 µs."""

    __slots__ = ("_bits", "_key", "_range", "_turn")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._turn = 0
        self._bits = int.from_bytes(_blake(key).digest(), "little")
        self._range = 1 << _BLOCK

    def below(self, n: int) -> int:
        """A whole number in [0, n). Raises ValueError unless n >= 1."""
        if n < 1:
            raise ValueError(f"below() needs n >= 1, got {n}")
        if self._range // n < _RESERVE:
            self._refill(n)
        self._bits, value = divmod(self._bits, n)
        self._range //= n
        return value

    def _refill(self, n: int) -> None:
        blocks = 1 + (n.bit_length() + 64) // _BLOCK
        self._bits = 0
        for _ in range(blocks):
            self._turn += 1
            more = _blake(self._key + self._turn.to_bytes(8, "little")).digest()
            self._bits = self._bits << _BLOCK | int.from_bytes(more, "little")
        self._range = 1 << (_BLOCK * blocks)

    def unit(self) -> float:
        """A float in [0, 1) with 53 random bits."""
        return self.below(1 << 53) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high)."""
        return low + (high - low) * self.unit()

    def normal(self) -> float:
        """A standard normal draw (Box and Muller 1958, the cosine branch)."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.unit()))
        return radius * math.cos(2.0 * math.pi * self.unit())

    def pick(self, items: Sequence[T]) -> T:
        """One item, uniformly. Raises ValueError when there is none."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """k different positions of `items` in random order. Raises ValueError when k > len(items)."""
        if k > len(items):
            raise ValueError(f"cannot draw {k} of {len(items)}")
        pool = list(items)
        for i in range(k):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:k]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle in place (Fisher and Yates)."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


def stream(seed: int, number: int, purpose: str) -> Stream:
    """The stream of one purpose in one draw of one study."""
    return Stream(f"{seed}/{number}/{purpose}".encode())
