"""All trials as a CSV file: numbers to the last bit, text that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from searchitect.records import Trial
from searchitect.report.files import write_atomically
from searchitect.report.plain import clean
from searchitect.report.snapshot import read

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")  # what makes a spreadsheet compute
FIXED = (
    "number", "state", "kind", "epochs", "data", "resolution", "seconds", "epochs_trained", "device", "source",
    "attempts", "worker", "origin", "parents", "seed", "started", "finished", "cause", "message",
)  # fmt: skip


def export_csv(folder: Path | str, path: Path | str) -> Path:
    """Write every trial of a study to `path`, one line each, and return the path.

    Columns: the trial's facts, then `metric:NAME` and `decision:NAME`. Numbers are written so that they read
    back equal ("nan", "inf" and "-inf" included), times as UTC in ISO form. Text that begins like a formula
    gets an apostrophe before it. Raises StorageError when the study cannot be read or the file not written.
    """
    trials = read(folder).trials
    metrics = sorted({name for t in trials if t.measurement for name in t.measurement.metrics})
    decisions = list(dict.fromkeys(name for t in trials for name in t.architecture.decisions))
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    header = [*FIXED, *(f"metric:{m}" for m in metrics), *(f"decision:{d}" for d in decisions)]
    writer.writerow([_safe(name) for name in header])
    writer.writerows(_row(t, metrics, decisions) for t in trials)
    return write_atomically(Path(path), out.getvalue().encode("utf-8", "replace"))


def _row(trial: Trial, metrics: Sequence[str], decisions: Sequence[str]) -> list[str]:
    fidelity, measured, failure = trial.proposal.fidelity, trial.measurement, trial.failure
    facts: list[str | float | None] = [
        trial.number,
        str(trial.state),
        fidelity.kind,
        fidelity.epochs,
        fidelity.data,
        fidelity.resolution,
        measured.seconds if measured else None,
        measured.epochs if measured else None,
        measured.device if measured else None,
        trial.source,
        trial.attempts,
        trial.worker,
        trial.proposal.origin,
        " ".join(map(str, trial.proposal.parents)),
        trial.seed,
        _iso(trial.started),
        _iso(trial.finished),
        str(failure.cause) if failure else None,
        failure.message if failure else None,
    ]
    facts += [measured.metrics.get(m) if measured else None for m in metrics]
    facts += [trial.architecture.decisions.get(d) for d in decisions]
    return [_field(v) for v in facts]


def _field(value: str | float | None) -> str:
    """A field of the file: numbers exactly (they may begin with a sign), text made safe."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, (int, float)) else _safe(value)


def _safe(text: str) -> str:
    text = clean(text, 2000)
    return "'" + text if text.lstrip(" \u00a0\u3000").startswith((*FORMULA, "＝", "＋", "－", "＠")) else text


def _iso(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds < 250_000_000_000:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
