"""The user's face of a search: `search`, `resume` and the `Study` they return."""

from __future__ import annotations

import html
import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from searchitect.engine.observer import Announcer, Observer, Watchers
from searchitect.errors import StorageError, UsageError
from searchitect.records import Objective, State, Trial, Verdict, best, front, jsonable, objectives
from searchitect.settings import Settings, from_mapping
from searchitect.space import Architecture, Space
from searchitect.store import Store

log = logging.getLogger(__name__)


def search(
    space: Any = None, data: Any = None, *, evaluate: Any = None, baseline: Any = None,
    settings: Settings | None = None, observer: Watchers = None, enqueue: Iterable[Architecture] = (),
    **options: Any,
) -> Study:  # fmt: skip
    """Search a network, retrain the best over seeds, compare it with a hand-made one on unread test data.

    space:    a `Space`, the name of a ready one, or None (chosen by the data).
    data:     (X, y) as arrays, tensors or frames; a path; or the name of a data set that ships along.
    evaluate: your own training, `evaluate(model, trial) → number or numbers by name`; or a `searchitect.bench` table,
              whose results are looked up (also by name: table="nb201-cifar10").
    baseline: a zero-argument factory of the network to beat, or decisions of the space.
    loss:     your own loss in our training, `loss(outputs, y) → scalar tensor`, also in a supernet.
    step:     or the whole of a training step up to the loss, `step(network, x, y) → scalar tensor`.
    enqueue:  architectures to try first.
    observer: an `Observer` (a logger of `searchitect.interop.trackers`), a function that is called with each trial that
              has ended, or a list of them; one that fails never stops the search.
    start:    architectures that the strategy proposes first: Architecture, decisions by name, or the path of an
              arch.json; one or several (in contrast to `enqueue`, the strategy makes these proposals itself).
    options:  every field of `Settings` (budget="10m", trials=20, objectives=[...], workers=2, seed=0,
              path="runs/first", ...), `sample=` (shape of one row) and `outputs=` for `evaluate` without data,
              and `test_data=` (a source like `data`) where the test rows are given apart; `groups=` also takes
              one value for each row; `weights=` is how much each row counts in the loss of a training;
              `measure=` is your function that measures latency_ms: it gets the path of an ONNX file;
              `selftest=False` leaves out trying the bundle in a fresh interpreter (2 s).

    With a budget everything ends in that time, the final comparison included. Raises UsageError, SpaceError
    or DataError before anything is trained, StorageError when `path` holds a study already (see `resume`),
    StudyFailedError when the search cannot go on; what was finished by then stays in the study.
    """
    from searchitect.session.preparing import Given, prepare

    began = time.monotonic()
    objects = ("sample", "outputs", "loss", "step", "weights", "selftest", "measure")
    extra: dict[str, Any] = {name: options.pop(name) for name in objects if name in options}
    if isinstance(extra.get("measure"), str):
        options["measure"] = extra.pop("measure")
    if "start" in options:
        extra["start"] = options.pop("start")
    for name in ("test_data", "groups"):
        if not isinstance(options.get(name), (str, type(None))):
            extra[name] = options.pop(name)
    if isinstance(data, (str, Path)):
        options["data"], data = str(data), None
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    chosen = settings or from_mapping(plain)
    prepared = prepare(chosen, Given(space, data, evaluate, baseline, **extra))
    folder = Path(chosen.path) if chosen.path else free_folder(chosen.name)
    return _start(folder, prepared, Announcer(observer), began, list(enqueue))


def plan(settings: Settings, space: Any = None, data: Any = None, probe: bool = False) -> dict[str, Any]:
    """What `search` would do, as plain data; nothing is written.

    probe: train two networks for some seconds and say what budgets would buy ("forecasts"; where our own training
    measures; not for strategies that share weights, whose epochs are those of a supernet).
    """
    from searchitect.session.opening import facts
    from searchitect.session.preparing import Given, prepare

    prepared = prepare(settings, Given(space, data))
    found = facts(prepared, Path(settings.path) if settings.path else free_folder(settings.name))
    if probe and prepared.data is not None:
        from searchitect.session.forecasting import forecasts

        found["forecasts"] = [msgspec.to_builtins(f) for f in forecasts(prepared, found["strategy"]["name"])]
    return found


def resume(
    path: str | Path, *, data: Any = None, evaluate: Any = None, space: Any = None, baseline: Any = None,
    code: str | None = None, observer: Watchers = None, **changes: Any,
) -> Study:  # fmt: skip
    """Go on with a study where it ended: unfinished trials are queued again, finished ones are kept.

    What a file cannot hold must be passed again: arrays, functions, the user's own classes (as a space or in
    the file named by `code`). changes: `budget=` and `trials=` extend it; `takeover=True` takes the lock of a
    dead driver on another machine; `allow_data_change=True` goes on with other data.
    """
    from searchitect.session.opening import CODE, check_same, read_back
    from searchitect.session.preparing import Given, prepare

    began = time.monotonic()
    takeover, allow = bool(changes.pop("takeover", False)), bool(changes.pop("allow_data_change", False))
    sample, outputs = changes.pop("sample", None), changes.pop("outputs", None)
    apart, groups = (
        None if isinstance(changes.get(name), str) else changes.pop(name, None) for name in ("test_data", "groups")
    )
    own = {name: changes.pop(name) for name in ("loss", "step", "measure") if name in changes}
    given = Given(space, data, evaluate, baseline, sample, outputs, apart, groups, **own)
    if changes.get("ray"):
        changes.setdefault("executor", "ray")
    with Store.open(Path(path)) as reader:
        meta = dict(reader.meta)
    chosen = read_back(meta, given, code, changes)
    prepared = prepare(chosen, given)
    notes = check_same(meta, prepared, allow)
    with Store.open(Path(path), write=True, takeover=takeover) as store:
        store.set_meta(
            budget_seconds=chosen.budget_seconds, trials_limit=chosen.trials, data=prepared.data_facts or None,
            settings=dict(meta["settings"]) | {k: v for k, v in changes.items() if v is not None and k not in CODE},
        )  # fmt: skip
        watcher = Announcer(observer)
        watcher.plan(dict(store.meta))
        for text in notes:
            store.note("resume", {"text": text})
            watcher.message(text)
        _drive(store, prepared, watcher, began)
    return Study(Path(path))


def free_folder(name: str | None) -> Path:
    """runs/NAME, or runs/study-N with the first free number."""
    if name:
        return Path("runs") / name
    number = 1
    while (Path("runs") / f"study-{number}").exists():
        number += 1
    return Path("runs") / f"study-{number}"


def _start(folder: Path, prepared: Any, observer: Observer, began: float, enqueued: list[Architecture]) -> Study:
    from searchitect.session.opening import facts

    meta = facts(prepared, folder)
    for architecture in enqueued:
        prepared.space.validate(architecture)
    observer.plan(meta)
    with Store.create(folder, meta | {"enqueued": [dict(a.decisions) for a in enqueued]}) as store:
        _drive(store, prepared, observer, began)
    return Study(folder)


def _drive(store: Store, prepared: Any, observer: Observer, began: float) -> None:
    """Run one session and leave the report, whatever happened."""
    from searchitect.report import write_report
    from searchitect.session.run import Session

    folder = Path(store.folder)
    try:
        signal = Session(prepared, store, observer, began).run()
    finally:
        try:
            write_report(folder)
        except Exception as error:  # what was found is in the study; the page can be made again from it
            log.warning("the report was not written (%s: %s); try `searchitect report`", type(error).__name__, error)
    observer.end(Study(folder).summary() | {"signal": signal})


class Study:
    """A study on disk, read-only. Every property reads what is there now, also while a search is running.

    path: the folder. Raises StorageError when it holds no study.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._store() as store:
            self.meta: dict[str, Any] = dict(store.meta)

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """The study in a folder."""
        return cls(path)

    def _store(self) -> Store:
        return Store.open(self.path)

    # -- what was found ------------------------------------------------------------------------------

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What was improved, and the limits."""
        return objectives(self.meta["objectives"])

    @property
    def space(self) -> Space:
        """The space as it was stored; the user's own classes are names only."""
        return Space.from_json(self.meta["space"]["json"], name=self.meta["space"]["name"])

    @property
    def trials(self) -> list[Trial]:
        """All trials in the order of their numbers."""
        with self._store() as store:
            return store.trials()

    @property
    def best(self) -> Trial | None:
        """The best trial by validation, at the highest fidelity reached."""
        return best(self.trials, self.objectives)

    def front(self) -> list[Trial]:
        """The trials that no other dominates, for several goals."""
        return front(self.trials, self.objectives)

    @property
    def verdict(self) -> Verdict | None:
        """The comparison with the baseline on test data, once the study is finalised."""
        with self._store() as store:
            found = store.meta.get("verdict")
        return None if found is None else msgspec.convert(found, Verdict)

    def importance(self) -> dict[str, Any]:
        """What the trials say about each decision: "shares" of the variance (the largest first, each with "low" and
        "high" over trees), "trials", "explains" (R² on unseen trials), or in "skipped" why there are no shares; empty
        before the study is finalised."""
        with self._store() as store:
            told = store.meta.get("explained") or {}
        return dict(told.get("importance") or {"skipped": told["skipped"]} if told else {})

    def dataframe(self) -> Any:
        """All trials as a pandas DataFrame: one row each, decisions and metrics as columns."""
        try:
            import pandas
        except ImportError as error:
            raise UsageError("dataframe() needs pandas: pip install 'searchitect[pandas]'") from error
        return pandas.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """All trials as flat mappings."""
        found = []
        for trial in self.trials:
            metrics = trial.measurement.metrics if trial.measurement else {}
            found.append({
                "number": trial.number, "state": trial.state.value, "source": trial.source,
                "epochs": trial.proposal.fidelity.epochs, "attempts": trial.attempts,
                "cause": trial.failure.cause.value if trial.failure else None, **metrics,
                **{f"decision {name}": value for name, value in trial.architecture.decisions.items()},
            })  # fmt: skip
        return found

    def export(self, folder: str | Path, formats: Sequence[str] = (), space: Space | None = None) -> Path:
        """Copy the bundle to a new folder. Raises StorageError when there is none yet or the folder exists.

        formats: more forms of the network, of "pt2", "onnx", "onnx-int8" (see `finalize.formats`). They need the
        study's own `space` where the network has classes of the user's.
        """
        source = self.path / "best"
        if not source.is_dir():
            raise StorageError(
                f"{self.path} holds no bundle yet; finish the study with `searchitect resume {self.path}`"
            )
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            raise StorageError(f"{target} exists and is not empty; name a new folder")
        shutil.copytree(source, target, dirs_exist_ok=True)
        if formats:
            from searchitect.finalize import write_formats

            try:
                write_formats(target, formats, space)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)  # all or nothing, so that it can be tried again
                raise
        return target

    def enqueue(self, architecture: Architecture) -> None:
        """Leave an architecture to be tried first when the study goes on (`resume`).

        Raises ArchitectureError when it is not of the study's space, StudyLockedError while a search is running.
        """
        self.space.validate(architecture)
        with Store.open(self.path, write=True) as store:
            store.set_meta(enqueued=[*(store.meta.get("enqueued") or []), dict(architecture.decisions)])

    def restore(self, decision: str | None = None, option: Any = None) -> list[str]:
        """Take back a cut of `shrink`: the option is proposed again when the study goes on, and never cut anew. Without
        arguments all cuts come back, and nothing is cut any more. What came back, by name.

        Raises UsageError when it is not cut, StudyLockedError while a search is running.
        """
        from searchitect.session.shrinking import restore

        return restore(self.path, decision, None if option is None else str(option))

    def report(self) -> Path:
        """Write `report.html` anew and return its path."""
        from searchitect.report import write_report

        return write_report(self.path)

    # -- for scripts and notebooks -------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """What `searchitect show --json` prints: plain data."""
        from searchitect.report.shrunk import cuts

        with self._store() as store:
            meta, trials, notes = dict(store.meta), store.trials(), store.notes()
        aims = objectives(meta["objectives"])
        found = best(trials, aims)
        bundle, report = self.path / "best", self.path / "report.html"
        seconds = dict(meta.get("seconds") or {})
        verdict = meta.get("verdict")
        summary = {
            "name": meta["name"], "path": str(self.path), "state": _state(meta, trials),
            "space_size": int(meta["space"]["finite"]), "strategy": meta["strategy"]["name"],
            "objectives": list(meta["objectives"]), "trials": tally(trials),
            "seconds": {k: seconds.get(k) for k in ("search", "finalize", "budget", "active")},
            "best": None if found is None else _best_entry(found), "judged": meta.get("judged"),
            "verdict": None if verdict is None else _verdict_entry(verdict),
            "comparisons": {k: _verdict_entry(v) for k, v in (meta.get("comparisons") or {}).items()},
            "metrics": {k: _verdict_entry(v) for k, v in (meta.get("metrics") or {}).items()},
            "front": meta.get("front"), "forecast": meta.get("forecast"), "recipes": meta.get("recipes") or {},
            "shrunk": cuts(notes),
            "bundle": str(bundle) if bundle.is_dir() else None,
            "report": str(report) if report.is_file() else None,
            "finalised": bool(meta.get("finalised")), "stopped": meta.get("stopped"),
        }  # fmt: skip
        plain: dict[str, Any] = jsonable(summary)
        return plain

    def __repr__(self) -> str:
        counts = tally(self.trials)
        return f"<Study {self.path}: {counts['done']} trials done, {counts['failed']} failed>"

    def _repr_html_(self) -> str:
        """A small table for notebooks."""
        summary = self.summary()
        rows = {
            "study": summary["name"], "space": f"{summary['space_size']:,} architectures",
            "trials": ", ".join(f"{n} {word}" for word, n in summary["trials"].items() if n),
            "best": summary["best"] and ", ".join(f"{k} {v:.4g}" for k, v in summary["best"]["validation"].items()
                                                  if isinstance(v, float)),
            "verdict": summary["verdict"] and summary["verdict"]["sentence"],
        }  # fmt: skip
        cells = "".join(
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items() if v
        )
        return f"<table>{cells}</table>"


def tally(trials: Iterable[Trial]) -> dict[str, int]:
    """How many trials are done, failed, reused, pruned, running and queued, and all attempts."""
    counts = dict.fromkeys(("done", "failed", "reused", "pruned", "running", "queued", "attempts"), 0)
    for trial in trials:
        counts["attempts"] += trial.attempts
        if trial.source is not None and trial.state in (State.DONE, State.FAILED):
            counts["reused"] += 1
        else:
            counts[trial.state.value] += 1
    return counts


def _best_entry(trial: Trial) -> dict[str, Any]:
    assert trial.measurement is not None
    return {
        "number": trial.number, "architecture": dict(trial.architecture.decisions),
        "validation": dict(trial.measurement.metrics), "epochs": trial.proposal.fidelity.epochs,
        "kind": trial.proposal.fidelity.kind,
    }  # fmt: skip


def _verdict_entry(verdict: dict[str, Any]) -> dict[str, Any]:
    def side(score: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if score is None else {k: score[k] for k in ("mean", "low", "high", "n")}

    names = ("metric", "difference", "low", "high", "words", "sentence", "test_items", "method", "superiority")
    sides = {"winner": side(verdict["winner"]), "baseline": side(verdict["baseline"])}
    return sides | {name: verdict.get(name) for name in names}


def _state(meta: dict[str, Any], trials: list[Trial]) -> str:
    if meta.get("finalised"):
        return "finalised"
    if any(t.state is State.RUNNING for t in trials):
        return "running"
    return "searched" if meta.get("stopped") not in (None, "interrupted") else "unfinished"
