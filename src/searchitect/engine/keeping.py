"""What trials leave on disk while a search runs: the weights of the best, and the state of trainings that may go on.

A training that pauses has one file for its state, whatever rung it has reached; it is named after the trial in which
the training began. It goes when the training has reached its end, failed, or stands worst where most are waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from searchitect.records import PROMOTE, Objective, Proposal, State, Trial, feasible, losses

MOST = 100  # paused trainings with a file; a training that has lost its own begins anew
LARGEST = 2 << 30  # bytes of all these files
LATEST, BEST = 24, 8  # trials whose weights children may begin with


def weights_path(folder: Path, number: int) -> Path:
    """Where a trial's trained weights are kept."""
    return folder / f"trial-{number}.safetensors"


def state_path(folder: Path, number: int) -> Path:
    """Where the state of the training that began in this trial is kept."""
    return folder / f"trial-{number}.state"


def began(proposal: Proposal, trials: Mapping[int, Trial]) -> Trial | None:
    """The trial in which the training began that a promotion continues; None for a proposal that begins its own."""
    first = None
    while proposal.origin == PROMOTE and proposal.parents and (found := trials.get(proposal.parents[0])) is not None:
        first = found if found.source is None else trials[found.source]
        proposal = first.proposal
    return first


def parent_of(number: int, trials: Mapping[int, Trial]) -> int:
    """The trial that has the weights of a parent: itself, or the equivalent whose result it has."""
    trial = trials.get(number)
    return number if trial is None or trial.source is None else trial.source


class Kept:
    """The files of one search. Without a folder nothing is kept and nothing removed. heirs: whether trials may begin
    with the weights of others."""

    def __init__(self, folder: Path | None, objectives: Sequence[Objective], heirs: bool = False) -> None:
        self.folder = folder
        self.objectives = objectives
        self.heirs = heirs
        self.parents: list[Trial] = []  # whose weights are kept, in the order told
        self.paused: dict[int, tuple[Trial, int]] = {}  # by its first trial: the last one, and bytes of the state

    def drop_weights(self, trial: Trial | None) -> None:
        """Somebody else is the best."""
        if self.folder is not None and trial is not None and not self.heirs:
            weights_path(self.folder, trial.number).unlink(missing_ok=True)

    def told(self, trial: Trial, trials: Mapping[int, Trial]) -> None:
        """Keep the state of a training that has paused, and remove that of one which has ended."""
        if self.folder is None or trial.source is not None:
            return
        if self.heirs:
            self._keep_parents(trial, trials)
        number = (began(trial.proposal, trials) or trial).number
        path, fidelity = state_path(self.folder, number), trial.proposal.fidelity
        if trial.state is State.DONE and fidelity.horizon > fidelity.epochs:
            try:
                self.paused[number] = trial, path.stat().st_size
            except FileNotFoundError:  # not written (disk full, a function that does not pause): nothing to keep
                self.paused.pop(number, None)
            self._bound()
        else:
            self._remove(number)

    def _keep_parents(self, trial: Trial, trials: Mapping[int, Trial]) -> None:
        """Keep the weights of the latest trials, of the best, and of parents whose children have not ended: a fold over
        what is told, so that a study that was interrupted has the same files."""
        assert self.folder is not None
        if trial.state is State.DONE:
            self.parents.append(trial)
        else:
            weights_path(self.folder, trial.number).unlink(missing_ok=True)
        best = sorted(self.parents, key=self._standing)[:BEST]
        kept = {t.number for t in (*best, *self.parents[-LATEST:])}
        for other in trials.values():
            if other.state in (State.QUEUED, State.RUNNING):
                kept |= {parent_of(number, trials) for number in other.proposal.parents}
        for gone in [t for t in self.parents if t.number not in kept]:
            self.parents.remove(gone)
            weights_path(self.folder, gone.number).unlink(missing_ok=True)

    def _standing(self, trial: Trial) -> tuple[bool, tuple[float, ...], int]:
        metrics = trial.measurement.metrics if trial.measurement is not None else {}
        return not feasible(metrics, self.objectives), losses(trial, self.objectives) or (), trial.number

    def _bound(self) -> None:
        while len(self.paused) > MOST or sum(size for _, size in self.paused.values()) > LARGEST:
            waiting = Counter(trial.proposal.fidelity.epochs for trial, _ in self.paused.values())
            rung = max(waiting, key=lambda epochs: (waiting[epochs], -epochs))
            here = [n for n, (trial, _) in self.paused.items() if trial.proposal.fidelity.epochs == rung]
            self._remove(max(here, key=self._badness))

    def _badness(self, number: int) -> tuple[bool, tuple[float, ...], int]:
        return (*self._standing(self.paused[number][0])[:2], number)

    def _remove(self, number: int) -> None:
        self.paused.pop(number, None)
        if self.folder is not None:
            state_path(self.folder, number).unlink(missing_ok=True)

    def clear(self) -> None:
        """The search is over: no training will go on."""
        for number in list(self.paused):
            self._remove(number)
        for trial in sorted(self.parents, key=self._standing)[1:]:
            if self.folder is not None:
                weights_path(self.folder, trial.number).unlink(missing_ok=True)
        del self.parents[:]
