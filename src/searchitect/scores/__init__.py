"""Zero-cost scores: how promising an untrained network is, from one batch and without a training step.

Functions of a module and a batch (B, ...); nothing here knows spaces or studies. `score` computes several at once and
shares their passes; `SCORES` names them all. For every score larger is meant to be better. A score that has no value
for a network comes back as the reason, never as a number in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from searchitect.scores.names import PAPERS, SCORES, check_names

if TYPE_CHECKING:
    from searchitect.scores.scoring import Scored, score

__all__ = ["PAPERS", "SCORES", "Scored", "check_names", "score"]


def __getattr__(name: str) -> Any:
    if name not in ("Scored", "score"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.scoring"), name)
