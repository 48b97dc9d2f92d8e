"""Every option of a search that is plain data: one record for Python, TOML files and the command line.

Each field carries its meaning and an example, from which the command line, the commented file of
`searchitect init` and the documentation are made. A value is checked when the record is made, wherever it
came from; what is missing stands for "choose for me" and is chosen when the data are known.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from searchitect.errors import UsageError
from searchitect.records import objectives as read_objectives

UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
FEWEST_RECIPES = 4  # `finalize.tuning.LEAST`
LARGEST_FILE = 1 << 20  # bytes of a configuration file
MERGED = ("recipe", "strategy_options")  # tables: later layers add keys instead of replacing the whole
_BUDGET = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")

# Under which heading a reader finds each option: in the help of `search` and in the file of `init`.
SECTIONS = {
    "Data": "data target task layout missing test_data limit_train validation test groups ordered",
    "Space and goals": "space table objectives latency_table measure baseline",
    "Time": "budget trials patience epochs time_limit",
    "Search": "strategy strategy_options start screen prune shrink control recipe seed",
    "After the search": "finalize seeds tune distill temperature ensemble",
    "Machines": "workers threads device memory_mb executor ray cpus_per_trial gpus_per_trial devices_per_trial shared",
    "Study": "path name",
}

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Tuning = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Whole = Annotated[float, msgspec.Meta(gt=0, le=1)]
Members = Annotated[int, msgspec.Meta(ge=2, le=5)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1024)]
Word = Annotated[str, msgspec.Meta(min_length=1)]


def _about(description: str, example: Any = None) -> msgspec.Meta:
    return msgspec.Meta(description=description, examples=None if example is None else [example])


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of a search. Raises UsageError, naming the option, for a value that is not allowed."""

    # fmt: off
    data: Annotated[str | None, _about(
        "what to learn from: digits, iris, wine, breast_cancer, diabetes, a file.npz or table.csv, or a folder "
        "of idx or CIFAR-10 files", "digits")] = None
    target: Annotated[str | None, _about("name of the column (or array) to predict, for tables", "y")] = None
    task: Annotated[Literal["classification", "regression"] | None, _about(
        "kind of prediction; left out, it is read off the target", "classification")] = None
    layout: Annotated[str | None, _about(
        "axes of X, where they cannot be told: NHW, NHWC, NCHW, NCT, NTC, NT, NF, NL (token ids), S (a stream of them)",
        "NHWC")] = None
    missing: Annotated[Literal["error", "impute"] | None, _about(
        "what to do with empty cells; left out, an error in arrays and imputed in CSV files and frames",
        "impute")] = None
    test_data: Annotated[str | None, _about(
        "a source of the same form kept for the final test, instead of a share of the rows", "test.npz")] = None
    space: Annotated[str | None, _about(
        "the search space: a ready one (see `searchitect spaces`), module:object or FILE.py:object; left out, "
        "it is chosen by the kind of data", "cnn")] = None
    table: Annotated[Word | None, _about(
        "look results up in a table of trained networks instead of training: a published one (see `searchitect "
        "bench --list`) or FILE.npz; it brings its space and its objective", "nb201-cifar10")] = None
    budget: Annotated[str | None, _about(
        "time for everything, the final training and the test included: 90s, 3m, 1h30m, or seconds", "3m")] = None
    trials: Annotated[Count | None, _about("number of networks to try", 20)] = None
    patience: Annotated[Count | None, _about(
        "end the search when so many trials in a row brought no better best one", 30)] = None
    epochs: Annotated[Count | None, _about(
        "epochs of one trial; left out, they are chosen to suit the time", 3)] = None
    objectives: Annotated[list[str], _about(
        "what to improve, and limits to keep: accuracy, 'latency_ms < 2', 'min cost', 'max score'; left out, "
        "accuracy for classes and rmse for numbers", ["accuracy", "latency_ms < 2"])] = []
    latency_table: Annotated[Word | None, _about(
        "milliseconds of operations on the device that networks are for, as JSON or CSV, from which latency_ms is told "
        "(see docs/hardware.md); left out, they are measured here", "camera.csv")] = None
    measure: Annotated[Word | None, _about(
        "your function that measures latency_ms on a device: it gets the path of an ONNX file and returns "
        "milliseconds; module:function or FILE.py:function", "camera.py:measure")] = None
    strategy: Annotated[Word, _about("how to search (see `searchitect strategies`)")] = "auto"
    strategy_options: Annotated[dict[str, Any], _about(
        "options of the strategy by name", {"population": 20})] = {}
    screen: Annotated[Word | None, _about(
        "score of untrained networks by which the first ones to train are chosen out of many, such as synflow or "
        "params; switched off where it does not rank (see docs/cost.md)", "synflow")] = None
    prune: Annotated[Share | None, _about(
        "end a training when its learning curve says, with this confidence, that it will not be among the best five; "
        "for strategies that train in full", 0.95)] = None
    shrink: Annotated[bool, _about(
        "while searching, cut options that lose with 95 % confidence from the space; each cut is shown and can be "
        "taken back (see docs/cost.md)")] = False
    control: Annotated[Literal["random"] | None, _about(
        "a search beside the strategy that gets half of the time (or trials), to tell what the strategy was worth",
        "random")] = None
    tune: Annotated[Tuning | None, _about(
        "after the search, other recipes for the winner and as many for the baseline, chosen by validation: a share "
        "of the budget, or how many recipes for each", 8.0)] = None
    distill: Annotated[Whole | None, _about(
        "after the search, winner and baseline also learn from the best finalists together (soft targets): the share "
        "that these have in the loss", 0.5)] = None
    temperature: Annotated[Positive, _about("of the soft targets, with distill")] = 4.0
    ensemble: Annotated[Members | None, _about(
        "networks in the bundle: the winner and the next best finalists together, whose probabilities are averaged; "
        "costs so many times as much", 3)] = None
    start: Annotated[list[str], _about(
        "arch.json files of networks that the strategy proposes first, such as the best of a former search",
        ["runs/first/best/arch.json"])] = []
    baseline: Annotated[str | None, _about(
        "network to beat, as a function without arguments: module:object or FILE.py:object; left out, the "
        "space's own", "model.py:make")] = None
    workers: Annotated[Count | None, _about(
        "trials at the same time; left out, it is chosen by the machine", 2)] = None
    threads: Annotated[Count | None, _about("threads of one worker; left out, cores / workers", 1)] = None
    executor: Annotated[Literal["serial", "processes", "ray"] | None, _about(
        "where trials run: serial (in this process), processes, or ray", "processes")] = None
    ray: Annotated[Word | None, _about(
        "run trials on a Ray cluster: auto (RAY_ADDRESS, or the one that this machine is part of), HOST:PORT, or local "
        "(one of this machine alone, which ends with the search); see docs/scale.md", "auto")] = None
    cpus_per_trial: Annotated[Amount, _about("processors that a trial holds, with ray; two share one at 0.5")] = 1.0
    gpus_per_trial: Annotated[Amount, _about("GPUs that a trial holds, with ray; two share one at 0.5")] = 0.0
    devices_per_trial: Annotated[Count, _about(
        "processes that train one network together, with ray; each holds the CPUs and GPUs of a trial")] = 1
    shared: Annotated[Word | None, _about(
        "a folder that all machines see at the same place, with ray: files of a study below it are not sent around",
        "/mnt/shared")] = None
    seed: Annotated[Seed, _about("every random draw depends on it")] = 0
    path: Annotated[str | None, _about("folder of the study; left out, runs/NAME", "runs/first")] = None
    name: Annotated[str | None, _about(
        "name of the study; left out, made of data, space and a number", "first")] = None
    finalize: Annotated[bool, _about(
        "retrain the best and compare them with the baseline on unread test data")] = True
    seeds: Annotated[Count, _about("retrainings of each finalist; an interval needs 3")] = 3
    limit_train: Annotated[Count | None, _about("use at most that many training rows", 10_000)] = None
    validation: Annotated[Share, _about("share of the rows to choose networks by")] = 0.2
    test: Annotated[Share, _about("share of the rows kept unread until the end")] = 0.2
    groups: Annotated[str | None, _about(
        "column whose rows with one value stay on one side of every split, such as a patient; no feature",
        "patient")] = None
    ordered: Annotated[bool, _about(
        "rows are in the order of time: the latest are the test, those before them the validation")] = False
    recipe: Annotated[dict[str, Any], _about(
        "how networks are trained; left out, it suits the data", {"lr": 0.003, "optimizer": "adamw"})] = {}
    time_limit: Annotated[Seconds | None, _about("seconds after which one trial is ended", 300.0)] = None
    memory_mb: Annotated[Count | None, _about("megabytes one trial may use", 4_000)] = None
    device: Annotated[Word, _about("where networks are trained: auto, cpu, cuda, mps")] = "auto"
    # fmt: on

    def __post_init__(self) -> None:
        for name, kind in _types().items():
            value = getattr(self, name)
            try:
                msgspec.structs.force_setattr(self, name, msgspec.convert(value, kind))
            except msgspec.ValidationError as error:
                raise UsageError(f"{name} = {_short(value)}: {_in_words(error, kind)}") from None
        if self.ray is not None and self.executor is None:
            msgspec.structs.force_setattr(self, "executor", "ray")
        if self.budget is not None:
            parse_budget(self.budget)
        if self.objectives and self.table is None:  # a column's name alone takes the column's direction
            read_objectives(self.objectives)
        if self.tune is not None and self.tune < 1 and self.budget is None:
            raise UsageError(
                f"tune = {self.tune:g} is a share of the budget, but there is none: give budget, or a number of "
                "recipes for each network, for example 10"
            )
        if self.tune is not None and self.tune >= 1 and (self.tune != int(self.tune) or self.tune < FEWEST_RECIPES):
            raise UsageError(
                f"tune = {self.tune:g}: give a share of the budget below 1, or a whole number of recipes for each "
                f"network, {FEWEST_RECIPES} or more"
            )
        for name in ("distill", "ensemble"):
            if getattr(self, name) is not None and not self.finalize:
                raise UsageError(f"{name} = {getattr(self, name):g} is for the final trainings, but finalize is off")
        if self.validation + self.test >= 1:
            raise UsageError(
                f"validation = {self.validation:g} and test = {self.test:g} leave nothing to train on; "
                "their sum must be below 1 (usual: 0.2 each)"
            )
        if self.time_limit is not None and not math.isfinite(self.time_limit):
            raise UsageError("time_limit must be a finite number of seconds; leave it out for no limit")

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds, or None where none was set."""
        return None if self.budget is None else parse_budget(self.budget)


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def names() -> tuple[str, ...]:
    """The names of all options, in their order."""
    return Settings.__struct_fields__


def sections() -> dict[str, tuple[str, ...]]:
    """All options by the heading under which they are shown."""
    return {heading: tuple(options.split()) for heading, options in SECTIONS.items()}


def description(name: str) -> str:
    """What an option means, in one sentence."""
    return str(_types()[name].__metadata__[-1].description)


def example(name: str) -> Any:
    """A usable value of an option: its example, or its default where that says enough."""
    shown = _types()[name].__metadata__[-1].examples
    return shown[0] if shown else default(name)


def default(name: str) -> Any:
    """The value that stands when nothing is said; None means that it is chosen when the data are known."""
    return getattr(Settings(), name)


def choices(name: str) -> tuple[str, ...]:
    """The allowed words of an option that has a few of them, else nothing."""
    return _words(_types()[name])


def _words(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(w for part in get_args(kind) for w in _words(part))


def parse_budget(text: str | float) -> float:
    """Seconds of "3m", "90s", "1h30m", "1.5h", "2d" or "10" (seconds). Raises UsageError for anything else."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text)
    else:
        cleaned = str(text).strip().lower().replace(" ", "")
        found = _BUDGET.fullmatch(cleaned)
        if not cleaned or found is None:
            raise UsageError(f"budget {_short(text)} is not a time: write 90s, 3m, 1h30m, 2d or plain seconds")
        seconds = sum(float(n or 0) * unit for n, unit in zip(found.groups(), UNITS.values(), strict=True))
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"budget {_short(text)} must be longer than nothing: write for example 90s or 3m")
    return seconds


def from_mapping(values: Mapping[str, Any]) -> Settings:
    """The record of these options. Raises UsageError for unknown names (with the nearest one) and values."""
    known = names()
    for name in values:
        if name not in known:
            raise UsageError(f"{_short(name)} is not an option{_suggestion(name, known)}")
    given = dict(values)
    budget = given.get("budget")
    if isinstance(budget, (int, float)) and not isinstance(budget, bool):
        given["budget"] = f"{budget}s"
    for name in ("objectives", "start"):
        if isinstance(given.get(name), str):
            given[name] = [given[name]]
    return Settings(**given)


def merge(*layers: Mapping[str, Any]) -> Settings:
    """One record of several mappings; later ones win, and add to `recipe` and `strategy_options` by key."""
    together: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            before = together.get(name)
            if name in MERGED and isinstance(before, Mapping) and isinstance(value, Mapping):
                together[name] = {**before, **value}
            else:
                together[name] = value
    return from_mapping(together)


def read_toml(path: Path | str) -> dict[str, Any]:
    """The options in a TOML file, checked. Raises UsageError that names the file and the option."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path} is larger than 1 MB, which is not a configuration; see `searchitect init`")
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; `searchitect init {path}` writes a new one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}; compare with `searchitect init -`") from None
    try:
        from_mapping(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return values


def flag(name: str) -> str:
    """The option's name on the command line: "--time-limit" for time_limit, "--objective" for objectives."""
    singular = {"objectives": "objective", "strategy_options": "strategy-option"}
    return "--" + singular.get(name, name.replace("_", "-"))


def command_line(settings: Settings) -> str:
    """The command that repeats a search with these settings; only what differs from the defaults."""
    parts = ["searchitect", "search"]
    for name in names():
        value = getattr(settings, name)
        if value == default(name):
            continue
        if isinstance(value, bool):
            parts.append(flag(name) if value else "--no-" + flag(name)[2:])
        elif isinstance(value, Mapping):
            for key, item in value.items():
                parts += [flag(name), f"{key}={_plain(item)}"]
        else:
            for item in value if isinstance(value, list) else [value]:
                parts += [flag(name), _plain(item)]
    return shlex.join(parts)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; the options are {', '.join(known)}"


def _in_words(error: msgspec.ValidationError, kind: Any) -> str:
    """msgspec's message in the words of the rest, and the allowed words where these are few."""
    words = _words(kind)
    if words:
        return f"expected {' or '.join(words)}"
    text = str(error).replace("`", "").replace(" | null", "").replace("null", "nothing")
    for theirs, ours in (("int", "a whole number"), ("float", "a number"), ("str", "text"), ("bool", "true or false"),
                         ("object", "names with values"), ("array", "a list")):  # fmt: skip
        text = re.sub(rf"\b{theirs}\b", ours, text)
    return text[:1].lower() + text[1:]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
