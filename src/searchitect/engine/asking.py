"""Asking and telling a strategy that may be a stranger's: what it does wrong is named."""

from __future__ import annotations

from searchitect.errors import SearchitectError, StudyFailedError
from searchitect.records import Proposal, Trial
from searchitect.strategies.base import Strategy


def ask(strategy: Strategy) -> Proposal:
    """One proposal. Raises StudyFailedError naming a strategy that breaks or returns something else; errors of the
    library pass (an empty space is one)."""
    name = type(strategy).__name__
    try:
        answer = strategy.ask(1)
    except SearchitectError:
        raise
    except Exception as error:
        raise StudyFailedError(f"strategy {name} failed in ask(): {type(error).__name__}: {error}") from error
    if not (isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], Proposal)):
        raise StudyFailedError(f"strategy {name}: ask(1) must return a list of one Proposal, got {answer!r:.200}")
    return answer[0]


def tell(strategy: Strategy, trial: Trial) -> None:
    """Raises StudyFailedError naming a strategy that breaks."""
    try:
        strategy.tell(trial)
    except Exception as error:
        name = type(strategy).__name__
        raise StudyFailedError(f"strategy {name} failed in tell(): {type(error).__name__}: {error}") from error
