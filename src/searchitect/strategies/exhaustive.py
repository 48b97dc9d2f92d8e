"""Exhaustive search: every architecture of a small space once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Literal

from searchitect.errors import SpaceError, UsageError
from searchitect.records import Proposal, Trial
from searchitect.seeds import derive
from searchitect.space import Architecture, Space
from searchitect.strategies.base import Setting, Strategy, almost_empty, started
from searchitect.strategies.seen import Seen, exhausted

LARGEST = 10_000_000
ROUNDS = 8  # with four, the first of ten is seen not to be uniform over 3,000 keys


class Exhaustive(Strategy):
    """Proposes each architecture once and then ends the search; answers change nothing.

    Source: none needed. In shuffled order any prefix is a random sample without replacement, so a search that is
    cut short is no worse than random search. The order is a keyed permutation of the numbers of architectures (a
    Feistel network with cycle walking: Black and Rogaway 2002, section 3), so nothing is listed.
    Cost per ask: about 30 µs; with `equivalent` also a canonical key.

    Options: `order` = "shuffled" or "enumerated" (the last decision changes fastest); `equivalent` = true: one
    architecture of each class of equivalents; `largest` = spaces with more architectures are refused.
    """

    def __init__(
        self, setting: Setting, order: Literal["shuffled", "enumerated"] = "shuffled", equivalent: bool = False,
        largest: int = LARGEST,
    ) -> None:  # fmt: skip
        if order not in ("shuffled", "enumerated"):
            raise UsageError(f"exhaustive: order must be 'shuffled' or 'enumerated', got {order!r}")
        refuse_endless(setting.space, largest)
        self.setting = setting
        self.seen = Seen(setting.space, "equivalent" if equivalent else "identical")
        self.skips = equivalent or bool(setting.start)
        inner = setting.space.enumerate() if order == "enumerated" else shuffled(setting.space, setting.seed)
        self.left = chain(setting.start, inner)
        self.draws = 0
        self.events = 0

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        setting = self.setting
        proposal = started(setting, self.draws, self.events)
        architecture = next(self.left) if proposal is not None else self._next()
        if self.skips:
            self.seen.add(architecture)
        if proposal is None:
            proposal = Proposal(architecture, setting.fidelity, self.draws, (), self.events, "enumerate")
        self.draws += 1
        self.events += 1
        return proposal

    def _next(self) -> Architecture:
        feasible = self.setting.feasible
        for architecture in self.left:
            if (feasible is None or feasible(architecture)) and not (self.skips and architecture in self.seen):
                return architecture
        raise exhausted(self.setting, "all") if self.draws else almost_empty(self.setting)

    def tell(self, trial: Trial) -> None:
        self.events += 1


def refuse_endless(space: Space, largest: int) -> None:
    """Raises SpaceError, with advice, for a space that cannot be tried whole."""
    for decision in space.decisions:
        if decision.labels is None:
            raise SpaceError(
                f"exhaustive search needs a finite space, and {decision.name!r} is a real number: write the values "
                "worth trying as one_of(...), or take the strategy 'random'"
            )
    if space.size.finite > largest:
        raise SpaceError(
            f"exhaustive search of {space.size} architectures would not end (at most {largest:,} are taken): take "
            "'random' with replacement=false, or raise the option 'largest'"
        )


def shuffled(space: Space, seed: int) -> Iterator[Architecture]:
    """All architectures in an order that only the seed decides."""
    size = space.size.finite
    return (space.at(permuted(index, size, derive(seed, "exhaustive order"))) for index in range(size))


def permuted(index: int, size: int, key: int) -> int:
    """Where a keyed permutation of 0 .. size - 1 puts the index.

    A Feistel network permutes the numbers of 2·half bits, at most four times as many as are needed; a number beyond
    the size is permuted again until it falls below.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(ROUNDS):
            text = f"{key}/{turn}/{right}".encode()
            mixed = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
            left, right = right, left ^ (mixed & mask)
        index = left << half | right
        if index < size:
            return index
