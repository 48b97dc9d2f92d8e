"""What a notebook shows: spaces, architectures, verdicts, progress; and the tutorial, cell by cell."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from searchitect import Space, one_of
from searchitect.engine.observer import Progress
from searchitect.interop.notebook import NotebookProgress
from searchitect.records import Measurement, Proposal, Score, State, Trial, Verdict
from searchitect.space import Layer

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
SPACE = Space(Layer("toy.Net", {"width": one_of(1, 2), "act": one_of("a<b", "c")}), name="x & y")


def test_a_space_and_an_architecture():
    shown = SPACE._repr_html_()
    assert "x &amp; y: 4 architectures, 2 decisions" in shown
    assert "<pre>" in shown
    assert "a<b" not in shown
    table = SPACE.architecture({"width": 2, "act": "a<b"})._repr_html_()
    assert "<td>act</td><td>a&lt;b</td>" in table
    assert table.count("<tr>") == 3


def test_a_verdict_with_and_without_a_baseline():
    score = Score(0.91234, 0.9, 0.92, 3)
    alone = Verdict("accuracy", score, None, None, None, None, "no baseline", 100)
    assert "<b>no baseline</b>" in alone._repr_html_()
    assert alone._repr_html_().count("<tr>") == 2
    both = msgspec.structs.replace(alone, baseline=score, words="better", sentence="5 < 6, so better")
    assert "5 &lt; 6, so better" in both._repr_html_()
    assert "<td>winner</td><td>0.9123</td><td>0.9 to 0.92</td><td>3</td>" in both._repr_html_()


def test_progress_is_one_table():
    shown = NotebookProgress()
    shown.plan({"name": "first", "strategy": {"name": "random"}})
    best = Trial(4, Proposal(SPACE.sample(0)), State.DONE, Measurement({"accuracy": 0.5}))
    shown.progress(Progress("search", done=3, failed=1, running=2, best=best, elapsed=12.4, left=47.8))
    page = shown.page()
    assert "<td>3 done, 2 running, 1 failed</td>" in page
    assert "trial 4: accuracy 0.5" in page
    assert "12 s, 48 s left" in page
    shown.message("a <note>")
    shown.end({"verdict": {"sentence": "better by 2"}, "path": "runs/first"})
    assert "a &lt;note&gt;" in shown.page()
    assert "better by 2" in shown.page()


def test_the_cell_changes_at_most_twice_a_second(monkeypatch):
    shown, changes = NotebookProgress(), []
    shown._handle = SimpleNamespace(update=changes.append)
    now = 100.0
    monkeypatch.setattr("searchitect.interop.notebook.time", SimpleNamespace(monotonic=lambda: now))
    for _ in range(20):
        now += 0.1
        shown.progress(Progress("search", done=1, elapsed=1.0))
    assert 3 <= len(changes) <= 4
    shown.message("this is said at once")
    assert "this is said at once" in changes[-1].data


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the notebook's own packages are not ours to judge
def test_the_tutorial_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        [o for o in cell.outputs if "text/html" in o.get("data", {})]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    drawing, architecture, progress, study, verdict, best = (
        outputs[0].data["text/html"] for outputs in shown if outputs
    )
    assert "small: 4 architectures" in drawing
    assert "decision" in architecture
    assert "runs/tutorial" in progress
    assert "verdict" in study
    assert "interval" in verdict
    assert "decision" in best
    assert "model.py" in notebook.cells[-1].outputs[0].data["text/plain"]
