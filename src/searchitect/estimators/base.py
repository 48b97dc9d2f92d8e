"""What both estimators share: options, the call of `search`, the network in memory, leaderboard and export."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from searchitect.errors import StudyFailedError, UsageError
from searchitect.estimators.network import Network, Temporary
from searchitect.estimators.rows import as_value_error, new_rows, text_columns, training_rows
from searchitect.estimators.telling import Teller
from searchitect.records import Verdict, goals, losses, objectives
from searchitect.session.userobjects import load_object
from searchitect.space import Space
from searchitect.study import Study, search

USUAL_BUDGET = "5m"
NO_TEST = 1e-9  # a share of rows that is none: nothing is compared, so nothing is kept unread
RESERVED = frozenset({"data", "target", "seed", "finalize", "budget", "trials", "task", "groups", "name"})


class Estimator(BaseEstimator, ABC):  # type: ignore[misc]
    """Fits by a search. `_task` says what is predicted, `_weights` how much rows count."""

    _task: Literal["classification", "regression"]
    budget: Any
    space: Any
    strategy: str
    trials: int | None
    epochs: int | None
    objectives: Any
    baseline: Any
    workers: int | None
    executor: str | None
    random_state: Any
    finalize: Any
    path: Any
    verbose: bool
    options: dict[str, Any] | None
    study_: Study
    verdict_: Verdict | None
    network_: Network
    text_columns_: list[str]

    @abstractmethod
    def _weights(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        """One number a row, or None for ones; learns what it needs of y."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Search a network for these rows and keep it. Returns self.

        X:             (N, features) array or DataFrame (text, dates and gaps allowed), images or sequences (N, ...).
        y:             (N,) labels or numbers; a regressor also takes (N, outputs).
        sample_weight: (N,) how much each row counts in the loss; rows of weight 0 are left out.
        groups:        (N,) rows with one value stay on one side of every split.

        Ctrl-C ends the search early: the estimator is fitted with the best network so far, and a warning says so.
        Raises ValueError for data that cannot be used, and KeyboardInterrupt when nothing was found by then.
        """
        x, y = training_rows(self, X, y, numbers=self._task == "regression")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, y, ensure_non_negative=True)
            x, y, sample_weight, groups = _counted(x, y, sample_weight, groups)
        with as_value_error():
            weights = self._weights(y, sample_weight)
            self.text_columns_ = text_columns(x)
            self._search(x, y, weights, groups)
        return self

    def _search(self, x: Any, y: np.ndarray, weights: np.ndarray | None, groups: Any) -> None:
        options, space = self._options(), self._space()
        folder = None if self.path is not None else Temporary()
        place = str(self.path) if folder is None else str(folder.path / "study")
        teller = Teller(quiet=not self.verbose, kept=folder is None)
        finalize = options.pop("finalize")
        study = search(
            space, (x, y), observer=teller, baseline=self.baseline, path=place, task=self._task, finalize=finalize,
            missing=options.pop("missing", "impute"), groups=groups, weights=weights, selftest=finalize, **options,
        )  # fmt: skip
        self._keep(study, folder, space, finalize)
        self._warn(teller.signal, finalize)

    def _options(self) -> dict[str, Any]:
        """Options of `search`, with what was left out decided here."""
        more = dict(self.options or {})
        wrong = sorted(RESERVED & set(more))
        if wrong:
            raise ValueError(f"options={{{wrong[0]!r}: ...}} is said by fit or by another parameter of the estimator")
        budget = (None if self.trials is not None else USUAL_BUDGET) if self.budget == "auto" else self.budget
        if budget is None and self.trials is None:
            raise ValueError("nothing says when to end: give budget='5m' or trials=20")
        finalize = budget is not None if self.finalize == "auto" else self.finalize
        if not isinstance(finalize, (bool, np.bool_)):
            raise ValueError(f"finalize={finalize!r} must be True, False or 'auto'")
        given: dict[str, Any] = {
            "budget": budget, "trials": self.trials, "epochs": self.epochs, "strategy": self.strategy,
            "objectives": self.objectives, "workers": self.workers, "executor": self.executor,
            "seed": _seed(self.random_state), "finalize": bool(finalize),
        }  # fmt: skip
        if not finalize:
            given["test"] = NO_TEST
        return {k: v for k, v in given.items() if v is not None} | more

    def _space(self) -> Any:
        """A `Space` where it has classes of the user's, so that the network can be built again."""
        if isinstance(self.space, str) and ":" in self.space:
            return load_object(self.space, "space")
        return self.space

    def _keep(self, study: Study, folder: Temporary | None, space: Any, finalize: bool) -> None:
        bundle = study.path / "best"
        if not bundle.is_dir():
            if study.meta.get("stopped") == "interrupted":
                raise KeyboardInterrupt("the search was interrupted before a network was trained")
            raise StudyFailedError(f"no network was left: {_why_nothing(study)}")
        self.study_, self._folder = study, folder
        if not isinstance(space, (Space, str, type(None))) and callable(space):
            space = space()
        self.network_ = Network.read(bundle, space if isinstance(space, Space) else None, finalize)
        self.verdict_ = study.verdict
        self._trials = study.rows()
        self._order = _best_first(study)
        self._goals = [o.metric for o in goals(objectives(study.meta["objectives"]))]

    def _warn(self, signal: str | None, finalize: bool) -> None:
        if signal is not None:
            warnings.warn(
                f"fit was interrupted ({signal}): the network is the best of {len(self._order)} so far, trained once "
                "on the training rows and not compared with the baseline",
                RuntimeWarning, stacklevel=4,
            )  # fmt: skip
        elif finalize and not self.study_.meta.get("finalised"):
            warnings.warn(
                "the final comparison did not come to its end: the network is the best of the search, and verdict_ is "
                "None; see study_.report()", RuntimeWarning, stacklevel=4,
            )  # fmt: skip

    def _outputs(self, X: Any) -> Any:
        """Raw outputs of the network, a tensor (N, outputs)."""
        check_is_fitted(self, "network_")
        rows = new_rows(self, X)
        with as_value_error():
            return self.network_.outputs(rows, (self.options or {}).get("layout"))

    def leaderboard(self) -> Any:
        """The trials that were measured, the best first, as a pandas DataFrame: metrics, costs and decisions.

        Raises UsageError without pandas; `study_.rows()` gives the same as plain mappings, in the order of trials.
        """
        check_is_fitted(self, "network_")
        try:
            import pandas
        except ImportError as error:
            raise UsageError("leaderboard() needs pandas: pip install 'searchitect[pandas]'") from error
        rows = {row["number"]: row for row in self._trials}
        frame = pandas.DataFrame([rows[n] for n in self._order]).dropna(axis=1, how="all")
        first = ["number", *(name for name in self._goals if name in frame)]
        frame = frame[[*first, *(c for c in frame if c not in first and c != "state")]]
        frame.index = pandas.RangeIndex(1, len(frame) + 1, name="rank")
        return frame

    def export(self, folder: str | Path, formats: Sequence[str] = ()) -> Path:
        """Write the network to a new folder that needs only torch (`python model.py --selftest`), and the report.

        formats: more forms of it, of "pt2", "onnx", "onnx-int8". Raises StorageError when the folder is not empty.
        """
        check_is_fitted(self, "network_")
        return self.network_.write(Path(folder), formats, self.study_.path / "report.html")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = False
        tags.target_tags.required = True
        return tags


def _seed(random_state: Any) -> int:
    """None is 0: the same search each time."""
    if random_state is None:
        return 0
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _counted(x: Any, y: np.ndarray, weight: np.ndarray, groups: Any) -> tuple[Any, np.ndarray, np.ndarray, Any]:
    """Rows that count: those of weight 0 are left out."""
    keep = weight > 0
    if not keep.any():
        raise ValueError("Sample weights must contain at least one non-zero number")
    if keep.all():
        return x, y, weight, groups
    x = x.iloc[np.flatnonzero(keep)] if hasattr(x, "iloc") else x[keep]
    return x, y[keep], weight[keep], None if groups is None else np.asarray(groups)[keep]


def _best_first(study: Study) -> list[int]:
    """Numbers of the trials that were measured, those at the highest fidelity first, then by the goals."""
    aims = study.objectives
    found = [t for t in study.trials if losses(t, aims) is not None]
    return [t.number for t in sorted(found, key=lambda t: (-t.proposal.fidelity.epochs, losses(t, aims), t.number))]


def _why_nothing(study: Study) -> str:
    failed = [t.failure for t in study.trials if t.failure is not None]
    if failed:
        return f"{len(failed)} trials failed, the first with: {failed[0].message.splitlines()[0]}"
    return "no trial was measured, or none keeps the limits"
