"""What a study leaves behind: the winner's facts, and the bundle of its network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from searchitect.engine.keeping import weights_path
from searchitect.engine.loop import Loop
from searchitect.errors import TrialError, UsageError
from searchitect.evaluators import FunctionEvaluator, TrainEvaluator
from searchitect.evaluators.train import load_weights
from searchitect.executors import Executor
from searchitect.finalize import FinalResult, write_bundle
from searchitect.nets import Ensemble, build
from searchitect.records import COST_METRICS, Trial, goals
from searchitect.seeds import derive
from searchitect.training import prepare as tensors_of

if TYPE_CHECKING:
    from searchitect.session.run import Session


def leave_best_so_far(session: Session, loop: Loop) -> None:
    """The bundle of the best trial's weights, marked as not finalised; nothing where there are none.

    What an earlier session had finalised is worth more, and is kept.
    """
    best = loop.ledger.incumbent
    if session.store.meta.get("finalised"):
        session.store.note("finalize", {"text": "the verdict and the bundle of the session before were kept"})
        return
    if best is None:
        return
    path = weights_path(session.checkpoints, best.number)
    _note_winner(session, best, best.proposal.fidelity.epochs)
    if session.prepared.judge is not None:
        session.store.set_meta(judged=session.prepared.judge(best.architecture))
    if path.exists():
        with _noting(session):
            session.gauge.measure_trials([best])
            if not session.gauge.keeps(best):
                raise _NoBundle(f"measured alone, the best network does not keep {session.gauge.nearest([best])}")
            inputs = _inputs(session, False)
            _bundle(session, best, _network(session, best, path, best.seed, inputs), inputs, finalised=False)


class _NoBundle(Exception):
    """Why no bundle can be written."""


@dataclass(frozen=True)
class _Inputs:
    """How rows reach the network: shape of one row, what OUTPUTS stands for, preprocessing as plain data."""

    shape: tuple[int, ...]
    outputs: int | None
    preprocess: dict[str, Any]


def _inputs(session: Session, finalised: bool) -> _Inputs:
    evaluator = session.prepared.evaluator
    if isinstance(evaluator, TrainEvaluator):
        rows = np.arange(len(evaluator.raw)) if finalised else evaluator.train
        data, preprocess = tensors_of(evaluator.raw, rows)
        return _Inputs(data.sample, evaluator.raw.outputs, preprocess.to_json())
    assert isinstance(evaluator, FunctionEvaluator)
    if evaluator.sample is None:
        raise _NoBundle("the shape of an input is not known; pass sample=(...), the shape of one row without the batch")
    facts = {"kind": "none", "sample": list(evaluator.sample), "outputs": evaluator.outputs}
    return _Inputs(tuple(evaluator.sample), evaluator.outputs, facts)


def _network(session: Session, trial: Trial, weights: Path, seed: int, inputs: _Inputs) -> nn.Module:
    """The trained network, in eval mode; `seed` is that of its training."""
    prepared = session.prepared
    model = build(
        prepared.space, trial.architecture, inputs.shape, outputs=inputs.outputs, seed=derive(seed, "weights")
    )  # fmt: skip
    before = [p.detach().clone() for p in model.parameters()]
    load_weights(model, weights)
    same = all(map(torch.equal, before, model.parameters()))
    if before and same and isinstance(prepared.evaluator, FunctionEvaluator):
        raise _NoBundle(
            "evaluate() left the network's weights as they were built, so it would hold an untrained network; "
            "train the very model that is passed in, not a copy"
        )
    return model.eval()


def leave_winner(session: Session, executor: Executor, result: FinalResult, seed: int) -> None:
    """The winner's facts and the bundle of its first final training, whose seed this is."""
    assert result.winner is not None
    assert result.weights is not None
    winner, latency, model = result.winner, None, None
    with _noting(session):
        inputs = _inputs(session, True)
        model = _network(session, winner, result.weights, seed, inputs)
        with executor.exclusive():
            latency = session.gauge.latency(winner, model, inputs.shape)
    means = [s.mean for s in result.standings if s.chosen]
    _note_winner(session, winner, result.epochs, latency, means[0] if means else None)
    if model is not None:
        with _noting(session):
            together = _ensemble(session, executor, result, model, seed, inputs)
            members = [trial for _, trial in result.members] if together is not None else []
            _bundle(session, winner, together or model, inputs, finalised=True, members=members)


def _ensemble(
    session: Session, executor: Executor, result: FinalResult, winner: nn.Module, seed: int, inputs: _Inputs
) -> nn.Module | None:
    """The winner and the other members, each of its first final training; None where there are no others, or where
    together they break a limit on latency. What it costs is noted."""
    if len(result.members) < 2:
        return None
    others = [_network(session, trial, result.files[side][0], seed, inputs) for side, trial in result.members[1:]]
    model = Ensemble(winner, *others, classes=inputs.preprocess.get("task") == "classification").eval()
    with executor.exclusive():
        latency = session.gauge.latency(None, model, inputs.shape)
    missed = next((o for o in session.gauge.limits if o.metric == "latency_ms" and not o.kept(latency)), None)
    if missed is not None:
        text = f"no ensemble: together its members take {latency:.3g} ms, and the limit is {missed}"
        session.store.note("bundle", {"text": text})
        return None
    trials = [trial for _, trial in result.members]
    costs = {name: [trial.value(name) for trial in trials] for name in ("params", "macs")}
    session.store.set_meta(ensemble={
        "trials": [trial.number for trial in trials], "latency_ms": latency,
        **{name: None if None in values else sum(v for v in values if v is not None) for name, values in costs.items()},
    })  # fmt: skip
    return model


@contextmanager
def _noting(session: Session) -> Iterator[None]:
    """What stands in the way of a bundle is written down; the result of the study stands all the same."""
    try:
        yield
    except _NoBundle as why:
        session.store.note("bundle", {"text": f"no bundle: {why}"})
    except (TrialError, UsageError) as why:
        if isinstance(session.prepared.evaluator, TrainEvaluator):
            raise
        session.store.note("bundle", {"text": f"no bundle: {why}"})


def _note_winner(
    session: Session, trial: Trial, epochs: int, latency: float | None = None, retrained: float | None = None
) -> None:
    """retrained: its mean score on validation data over the trainings of the first stage."""
    measured = dict(trial.measurement.metrics) if trial.measurement else {}
    if trial.proposal.fidelity.kind == "inherited" and retrained is not None:  # nobody asks for the borrowed score
        costs = {name: value for name, value in measured.items() if name in COST_METRICS}
        measured = costs | {goals(session.prepared.objectives)[0].metric: retrained}
    session.store.set_meta(winner={
        "trial": trial.number, "architecture": dict(trial.architecture.decisions), "epochs": epochs,
        "validation": measured, "params": measured.get("params"), "macs": measured.get("macs"),
        "latency_ms": latency, "key": trial.key, "drawing": session.prepared.space.draw(trial.architecture),
    })  # fmt: skip


def _bundle(
    session: Session, trial: Trial, model: nn.Module, inputs: _Inputs, *, finalised: bool,
    members: Sequence[Trial] = (),
) -> None:  # fmt: skip
    """Write best/ with its card; `members` are those of an ensemble, which `model` is then."""
    meta = session.store.meta
    winner, settings = dict(meta["winner"]), session.settings
    whole = dict(meta["ensemble"]) if members else winner
    trained = isinstance(session.prepared.evaluator, TrainEvaluator) or settings.epochs is not None
    seconds = (meta.get("seconds") or {}).get("search")
    card = {
        "name": meta["name"], "verdict": meta.get("verdict") if finalised else None, "finalised": finalised,
        "validation": winner["validation"], "data": _data_card(meta["data"]), "params": whole["params"],
        "macs": whole["macs"], "latency_ms": whole["latency_ms"], "members": [t.number for t in members],
        "comparisons": (meta.get("comparisons") or {}) if finalised else {},
        "epochs": winner["epochs"] if trained else None, "recipe": _recipe_card(session) if finalised else None,
        "objectives": meta["objectives"],
        "space_size": meta["space"]["size"], "strategy": meta["strategy"]["name"], "seed": meta["seed"],
        "trials": sum(session.store.count().values()), "seconds": None if seconds is None else round(seconds, 1),
        "command": meta["command"], "version": meta["version"],
    }  # fmt: skip
    bundle = write_bundle(
        session.folder / "best", space=session.prepared.space, model=model,
        architecture=[t.architecture for t in members] if members else trial.architecture,
        sample_shape=inputs.shape, outputs=inputs.outputs, preprocess=inputs.preprocess, card=card,
        check=session.prepared.selftest,
    )  # fmt: skip
    for note in bundle.notes:
        session.store.note("bundle", {"text": note})
    session.store.set_meta(bundle="best")


def _recipe_card(session: Session) -> dict[str, Any]:
    """How the winner was trained: the recipe with what tuning changed, and its teacher."""
    evaluator, meta = session.prepared.evaluator, session.store.meta
    if not isinstance(evaluator, TrainEvaluator):
        return {}
    usual = {name: getattr(evaluator.recipe, name) for name in ("optimizer", "lr", "weight_decay", "schedule",
             "batch_size", "label_smoothing", "augment", "average")}  # fmt: skip
    recipe = usual | dict((meta.get("recipes") or {}).get("winner") or {})
    taught = {"teacher": f"trials {', '.join(map(str, meta['teachers']))}"} if meta.get("teachers") else {}
    if (share := recipe.pop("epochs", 1.0)) < 1:
        recipe["ends after"] = f"{share:.0%} of the epochs"
    return {name.replace("_", " "): value for name, value in (recipe | taught).items()}


def _data_card(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    if facts is None:
        return {}
    splits = facts["splits"]
    return {
        "source": facts["source"], "kind": facts["kind"], "rows": sum(splits.values()),
        "splits": ", ".join(f"{n:,} {name}" for name, n in splits.items()), "fingerprint": facts["fingerprint"],
    }  # fmt: skip
