"""How busy one driver keeps 10 to 10,000 workers of a cluster, in virtual time with measured costs.

    python benchmarks/scale_simulation.py [--messages MS] [--workers N ...] [--write]

As `asynchrony.py`: the study's own loop and store, workers that only exist in virtual time, training times of
NAS-Bench-201. Here each trial costs the driver the messages to a Ray host besides (`scale.py driver` measures them).
Each worker gets ten tasks, or 50,000 are shared out. With --write the figures go to docs/scale.json and the plot to
docs/scale.svg. `limit` is the number of workers at which the driver could hand out no more.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from asynchrony import PROMOTING, Virtual, never_equal

from searchitect.bench import load_table
from searchitect.engine.ledger import Ledger
from searchitect.engine.loop import Limits, Loop
from searchitect.executors import Event, Executor
from searchitect.records import Trial, objectives
from searchitect.report import svg
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy

WORKERS = (10, 100, 1000, 10_000)
STRATEGIES = ("random", "regularized-evolution", "asha")
TASKS, MOST = 10, 50_000
DOCS = Path(__file__).parent.parent / "docs"
STYLE = (
    "text{font:11px sans-serif;fill:#333}.label{fill:#333}.axis,.gridline{stroke:#999;stroke-width:.5}"
    ".curve{fill:none;stroke-width:2}.s1{stroke:#1f77b4}.s2{stroke:#d62728}.s3{stroke:#2ca02c}"
    "@media(prefers-color-scheme:dark){text,.label{fill:#ddd}}"
)


class Costly(Executor):
    """The executor of `asynchrony`, with messages that cost the driver so many seconds a task."""

    def __init__(self, inner: Virtual, messages: float) -> None:
        self.inner, self.messages, self.slots = inner, messages, inner.slots

    def start(self, function: Any) -> None: ...

    def submit(
        self, ticket: int, payload: Mapping[str, Any], *, time_limit: float | None = None, attempt: int = 1
    ) -> None:
        self.inner.waited += self.messages
        self.inner.submit(ticket, payload)

    def wait(self, timeout: float | None) -> list[Event]:
        return self.inner.wait(timeout)

    def stop(self, ticket: int) -> None: ...

    def kill(self, ticket: int) -> None: ...

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self, grace: float = 0.0) -> None: ...


def run(name: str, workers: int, messages: float) -> dict[str, Any]:
    """One simulated search."""
    table = load_table("nb201-cifar10")
    texts = ["valid_acc"] if name in PROMOTING else ["valid_acc_12ep"]
    inner = Virtual(table, texts, workers, float("inf"), 0.0)
    reading, aims = inner.reading, objectives(f"max {texts[0]}")
    strategy = make_strategy(name, Setting(table.space, aims, 0, reading.fidelity), dict(PROMOTING.get(name, {})))

    def payload(trial: Trial, _incumbent: Trial | None) -> dict[str, Any]:
        return {"decisions": trial.architecture.decisions, "level": reading.level(trial.proposal.fidelity)}

    trials = min(TASKS * workers, max(MOST, 2 * workers))
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "s", {"name": "bench"}) as store:
        ledger = Ledger(table.space, store, strategy, aims, never_equal(table.space), 0, clock=inner.clock)
        limits = Limits(trials=trials)
        loop = Loop(ledger, Costly(inner, messages), payload, limits, clock=inner.clock)
        inner.began = time.process_time()
        loop.run()
    given = inner.given
    tenth = max(1, len(given) // 10)
    late = (given[-1] - given[-1 - tenth]) / tenth + messages
    mean = sum(end - begin for begin, end in inner.busy) / len(given)
    return {
        "strategy": name, "workers": workers, "trials": len(given), "utilisation": inner.utilisation(),
        "training_seconds": mean, "driver_ms": 1e3 * (given[-1] / len(given) + messages), "late_ms": 1e3 * late,
        "limit": mean / late,
    }  # fmt: skip


def plot(rows: list[dict[str, Any]]) -> str:
    """Utilisation over workers, one line for each strategy."""
    x = svg.scale([row["workers"] for row in rows], 56.0, svg.WIDTH - 12.0, log=True)
    low = min(0.9, *(row["utilisation"] for row in rows))
    y = svg.Scale(low, 1.0, 224.0, 24.0)
    parts = list(svg.Frame(x, y, 264.0, "workers", "utilisation").draw())
    for index, name in enumerate(dict.fromkeys(row["strategy"] for row in rows)):
        points = [(x(row["workers"]), y(row["utilisation"])) for row in rows if row["strategy"] == name]
        parts.append(svg.path(points, f"curve s{index + 1}", name))
        parts.append(svg.line(70.0, 150.0 + 16 * index, 90.0, 150.0 + 16 * index, f"curve s{index + 1}"))
        parts.append(svg.text(96.0, 154.0 + 16 * index, name))
    picture = svg.picture("Utilisation of 10 to 10,000 workers", 264.0, svg.tag("style", STYLE), *parts)
    return str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("--messages", type=float, default=0.66, help="ms of the driver's CPU for a trial's messages")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    print(f"{'strategy':22} {'workers':>7} {'trials':>7} {'utilisation':>11} {'driver ms':>9} {'late':>6} {'limit':>9}")
    for name in STRATEGIES:
        for workers in given.workers:
            row = run(name, workers, given.messages / 1e3)
            rows.append(row)
            print(
                f"{name:22} {workers:7,} {row['trials']:7,} {row['utilisation']:11.1%} {row['driver_ms']:9.2f} "
                f"{row['late_ms']:6.2f} {row['limit']:9,.0f}",
                flush=True,
            )
    if given.write:
        facts = {"messages_ms": given.messages, "rows": rows}
        (DOCS / "scale.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        (DOCS / "scale.svg").write_text(plot(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
