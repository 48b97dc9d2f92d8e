"""What a study writes down when it begins, and how it is read back when it goes on.

A study file never names code to import: the space is plain data, the user's own classes, functions and data
come back from the caller. What the user typed is stored as text to be shown.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from searchitect.errors import StorageError, UsageError
from searchitect.records import goals
from searchitect.session import passes
from searchitect.session.budget import TRIALS
from searchitect.session.gauging import check_measurable
from searchitect.session.preparing import Given, Prepared
from searchitect.session.screening import check_prior
from searchitect.session.userobjects import load_object
from searchitect.settings import Settings, command_line, from_mapping
from searchitect.space import Space
from searchitect.strategies import STRATEGIES, Setting, make_strategy, strategy_class
from searchitect.strategies.auto import choose

CODE = ("space", "baseline", "strategy", "measure")  # options that may name code; never read back from a study's file


def facts(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Everything that is known before the first trial, as plain data (the study's `meta`)."""
    settings, space = prepared.settings, prepared.space
    name, options, why = _strategy(prepared)
    check_measurable(prepared)
    if settings.prune is not None:
        check_prunable(prepared, name)
    if settings.shrink:
        check_shrinkable(name)
    setting = Setting(space, prepared.objectives, settings.seed, feasible=prepared.feasible, start=prepared.start)
    if passes.shares_weights(name):  # refused now, not later
        passes.check(prepared, name, options)
        name_of_inner, inner = passes.inner_strategy(name, options)
        make_strategy(name_of_inner, setting, inner)
    else:
        make_strategy(name, setting, options)
        check_prior(prepared, options)
    kept = {k: v for k, v in msgspec.to_builtins(settings).items() if k not in (*CODE, "start")}
    return {
        "format": 1,
        "name": settings.name or folder.name,
        "path": str(folder),
        "created": time.time(),
        "version": version("searchitect"),
        "seed": settings.seed,
        "space": space_facts(space, prepared.space_why) | {"name": space.name or settings.space or ""},
        "objectives": [str(o) for o in prepared.objectives],
        "strategy": {"name": name, "options": options, "why": why},
        "evaluator": prepared.evaluator.describe() | {"epochs": settings.epochs},
        "data": prepared.data_facts or None,
        "budget_seconds": settings.budget_seconds,
        "trials_limit": settings.trials,
        "workers": prepared.workers,
        "threads": prepared.threads,
        "executor": settings.executor or "processes",
        "device": prepared.device,
        "baseline": _baseline(prepared),
        "start": [dict(a.decisions) for a in prepared.start],
        "environment": environment(),
        "measure": prepared.measure is not None,
        "given": prepared.given_facts,
        "command": command_line(settings) if settings.data or settings.table else "",
        "settings": kept,
    }  # fmt: skip


def check_prunable(prepared: Prepared, strategy: str) -> None:
    """Raises UsageError where no training can be ended by its curve."""
    if passes.shares_weights(strategy) or strategy_class(strategy).pauses:
        raise UsageError(f"prune ends trainings by their curves; {strategy} saves them in its own way: leave it out")
    if len(goals(prepared.objectives)) > 1:
        raise UsageError("prune looks at one goal, but there are several: make limits of the others, or leave it out")


def check_shrinkable(strategy: str) -> None:
    """Raises UsageError where the strategy proposes nothing that could be cut."""
    if passes.shares_weights(strategy) and strategy not in passes.SEARCHED:
        raise UsageError(
            f"shrink cuts options from what a strategy proposes; {strategy} trains all options together: leave it out"
        )


def space_facts(space: Space, why: str) -> dict[str, Any]:
    """The space as plain data, also when it has classes that a file cannot bring back."""
    return {
        "name": space.name, "why": why, "fingerprint": space.fingerprint, "size": str(space.size),
        "finite": str(space.size.finite), "continuous": space.size.continuous, "decisions": len(space.decisions),
        "limits": [str(one) for one in space.limits], "drawing": space.draw(), "json": space.to_json(strict=False),
    }  # fmt: skip


def _strategy(prepared: Prepared) -> tuple[str, dict[str, Any], str]:
    settings = prepared.settings
    if settings.strategy != "auto":
        return settings.strategy, dict(settings.strategy_options), "asked for"
    expected = settings.trials
    if expected is None and settings.budget_seconds is not None:
        expected = TRIALS + int(settings.budget_seconds / 10)  # refined once two trials are done; only sizes it
    name, options, why = choose(prepared.space, expected, prepared.objectives)
    return name, {**options, **settings.strategy_options}, why


def _baseline(prepared: Prepared) -> dict[str, Any] | None:
    if prepared.baseline_architecture is not None:
        return {"kind": "architecture", "decisions": dict(prepared.baseline_architecture.decisions)}
    return None if prepared.baseline_factory is None else {"kind": "factory"}


def environment() -> dict[str, Any]:
    """What a reader needs to judge the figures; an allow list, never the environment variables."""
    import numpy
    import torch

    return {
        "python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy.__version__,
        "searchitect": version("searchitect"), "platform": platform.platform(), "cpu": _cpu(),
        "cores": os.cpu_count(),
    }  # fmt: skip


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def read_back(meta: Mapping[str, Any], given: Given, code: str | None, changes: dict[str, Any]) -> Settings:
    """The settings of a stored study with `changes`; fills `given` with what can be had without the user.

    `code` is the user's FILE.py: its `space`, `data`, `evaluate` and `baseline` are taken where they exist.
    Raises UsageError naming what the user must bring.
    """
    stored = {k: v for k, v in meta["settings"].items() if k not in CODE}
    stored |= {k: v for k, v in changes.items() if v is not None}
    if stored.get("strategy") in (None, "auto"):
        stored["strategy"] = str(meta["strategy"]["name"])
        if stored["strategy"] not in STRATEGIES and not passes.shares_weights(stored["strategy"]):
            raise UsageError(f"this study's strategy {stored['strategy']!r} is code of yours: name it again to go on")
    stored["strategy_options"] = dict(meta["strategy"]["options"])
    if code is not None:
        more = [*(meta["evaluator"].get("own") or ()), *(["measure"] if meta.get("measure") else [])]
        for name in ("space", "data", "evaluate", "baseline", *more):
            if getattr(given, name) is None:
                setattr(given, name, _attribute(code, name))
    if given.space is None:
        given.space = Space.from_json(meta["space"]["json"], name=meta["space"]["name"], targets=_targets(meta, code))
    if isinstance(given.space, Space):
        _check_space(meta, given.space)
        lost = [one for one in given.space.limits if one.target and one.function is None]
        if lost:
            raise UsageError(
                f"this study's limit {lost[0]} is code of yours: bring it back with --code FILE.py or space="
            )
    baseline = meta.get("baseline") or {}
    if given.baseline is None and baseline.get("kind") == "architecture":
        given.baseline = baseline["decisions"]
    if given.baseline is None and baseline.get("kind") == "factory":
        raise UsageError("this study's baseline is code of yours: bring it back with --code FILE.py or baseline=")
    if meta["evaluator"]["kind"] == "function" and given.evaluate is None:
        raise UsageError("this study calls a function of yours: bring it back with --code FILE.py or evaluate=")
    if meta["evaluator"]["kind"] == "table" and given.evaluate is None and not stored.get("table"):
        raise UsageError("this study looks up a table of yours: pass it again as evaluate=")
    if meta.get("measure") and given.measure is None:
        raise UsageError("this study measures by a function of yours: bring it back with --code FILE.py or measure=")
    for name in meta["evaluator"].get("own") or ():
        if getattr(given, name) is None:
            raise UsageError(f"this study's {name} is code of yours: bring it back with --code FILE.py or {name}=")
    given.start = meta.get("start") or []  # what was proposed first then is proposed first in the replay
    before = meta.get("given") or {}
    if given.sample is None and before.get("sample") is not None:
        given.sample = tuple(before["sample"])
    given.outputs = given.outputs or before.get("outputs")
    if given.data is None and stored.get("data") is None and meta["evaluator"]["kind"] == "train":
        raise UsageError("this study's data were arrays: pass them again as data=")
    return from_mapping(stored)


def _attribute(code: str, name: str) -> Any:
    try:
        return load_object(f"{code}:{name}", "code")
    except UsageError as error:
        if isinstance(error.__cause__, AttributeError):
            return None
        raise


def _targets(meta: Mapping[str, Any], code: str | None) -> dict[str, Any]:
    """The user's classes by the paths that the stored space uses, looked up in the user's file."""
    if code is None:
        return {}
    import json

    found = {}
    stored = json.loads(meta["space"]["json"])
    for node in [*stored["nodes"], *stored.get("limits", ())]:
        target = str(node.get("target", ""))
        if target and not target.startswith(("torch.nn.", "searchitect.", "operator.", "builtins.")):
            value = _attribute(code, target.rpartition(".")[2])
            if value is not None:
                found[target] = value
    return found


def check_same(meta: Mapping[str, Any], prepared: Prepared, allow_data_change: bool) -> list[str]:
    """What else has changed, in sentences. Raises UsageError for another space, StorageError for other data."""
    _check_space(meta, prepared.space)
    before = (meta.get("data") or {}).get("fingerprint")
    now = prepared.data_facts.get("fingerprint")
    if before and now and before != now and not allow_data_change:
        raise StorageError(
            f"the data have changed since the study began (fingerprint {before[:8]}, now {now[:8]}): old and new "
            "trials would not compare. Start a new study, or pass allow_data_change=True (--allow-data-change)"
        )
    changed = []
    if before and now and before != now:
        changed.append(
            f"the data have changed (fingerprint {before[:8]}, now {now[:8]}): old and new trials do not compare"
        )
    described = prepared.evaluator.describe()
    changed += _other_loss(meta, described)
    code = described.get("code")
    if code != meta["evaluator"].get("code"):
        changed.append("evaluate() has changed since the study began: old and new trials may not compare")
    return changed


def _other_loss(meta: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What to say where the user's loss or step is another. Raises UsageError where a supernet has learned by it."""
    was, own = meta["evaluator"].get("own") or {}, now.get("own") or {}
    names = [f"{name}()" for name in ("loss", "step") if was.get(name) != own.get(name)]
    if not names:
        return []
    what = f"{' and '.join(names)} {'have' if len(names) > 1 else 'has'} changed since the study began"
    if passes.shares_weights(meta["strategy"]["name"]):
        raise UsageError(
            f"{what}, and the supernet of this study has learned by what it was: go back to the former code, or begin "
            "a new study"
        )
    return [f"{what}: old and new trials may not compare, and trainings that were paused begin anew"]


def _check_space(meta: Mapping[str, Any], space: Space) -> None:
    if meta["space"]["fingerprint"] != space.fingerprint:
        raise UsageError(
            f"the space has changed since the study began ({_difference(meta, space)}). "
            "Start a new study, or go back to the former space"
        )


def _difference(meta: Mapping[str, Any], space: Space) -> str:
    old = {d.name: d.allowed() for d in Space.from_json(meta["space"]["json"]).decisions}
    new = {d.name: d.allowed() for d in space.decisions}
    lines = [f"{n!r} is gone" for n in old if n not in new] + [f"{n!r} is new" for n in new if n not in old]
    lines += [f"{n!r} was {old[n]}, is {new[n]}" for n in old if n in new and old[n] != new[n]]
    return "; ".join(lines[:5]) or "the same decisions, but other layers"
