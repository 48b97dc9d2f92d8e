"""Where a search may be called from: a script without a main guard, standard input, a notebook."""

import os
import subprocess
import sys

import pytest
from drivers import assert_sound, done

pytestmark = pytest.mark.slow
SCRIPT = """
import torch.nn as nn
from searchitect import Space, lazy, one_of, search

class Mine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(4, width)

    def forward(self, x):
        return self.inner(x)

def evaluate(model, trial):
    return float(model.inner.weight.detach().abs().sum()) + OFFSET

OFFSET = 1.0
space = Space(lazy(Mine)(one_of(1, 2, 3, 4, 5)))
study = search(space, evaluate=evaluate, sample=(4,), objectives="max score", trials=4, workers=2, path="s")
print("best", study.best.number)
"""


def check(folder):
    assert sum(t.source is None for t in done(folder / "s").values()) == 4
    assert all(t.failure is None for t in done(folder / "s").values())
    assert_sound(folder / "s")


@pytest.mark.parametrize("how", ["script", "standard input", "-c"])
def test_a_script_without_main_guard(tmp_path, how):
    """A script without `if __name__ == "__main__"`, read from a file, from standard input or from -c → works with
    classes and functions of its own, starts no second search."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    arguments = {"script": [str(file)], "standard input": ["-"], "-c": ["-c", SCRIPT]}[how]
    done = subprocess.run(
        [sys.executable, *arguments], input=SCRIPT if how == "standard input" else None, cwd=tmp_path, text=True,
        capture_output=True, timeout=120, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best") == 1
    assert not done.stderr, done.stderr
    check(tmp_path)


@pytest.mark.filterwarnings("default")  # the notebook's own packages are not ours to judge
def test_a_notebook(tmp_path, monkeypatch):
    """The same lines in a notebook cell → the study is searched, and shown as a table."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = [nbformat.v4.new_code_cell(source) for source in (SCRIPT, "study", "1 + 1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    check(tmp_path)
    first, second, last = (cell.outputs for cell in notebook.cells)
    assert [o.text.strip()[:4] for o in first if o.output_type == "stream"] == ["best"]
    assert "<table>" in second[0].data["text/html"]
    assert last[0].data["text/plain"] == "2"
