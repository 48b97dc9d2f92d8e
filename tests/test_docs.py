"""Every ```python block of README.md and docs/ runs: the blocks of one file in one namespace, in their order.

A ```text block that follows one shows what it prints.
"""

import ast
import contextlib
import io
import pathlib
import re
import subprocess
import sys

import pytest

from searchitect import Manual, Space, one_of
from searchitect.space import Layer

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


def blocks(path):
    """(line in the file, source, what it prints or None) of each block."""
    text = path.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in BLOCK.finditer(text)]


def a_first_study(path):
    """Pages about a finished study suppose one at runs/first."""
    space = Space(Layer("toy.Net", {"width": one_of(*range(20))}))
    with Manual(space, "max accuracy", path) as study:
        for trial in study.take(5):
            study.tell(trial, accuracy=trial.architecture.decisions["width"] / 20)


WITH_CODE = [path for path in FILES if blocks(path)]


@pytest.mark.parametrize("path", WITH_CODE, ids=[str(p.relative_to(ROOT)) for p in WITH_CODE])
def test_the_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_first_study("runs/first")
    name = f"docs_{path.stem}"  # not "__main__": what stands behind the guard is for a script
    module = type(sys)(name)
    monkeypatch.setitem(sys.modules, name, module)
    for line, source, expected in blocks(path):
        code = compile("\n" * (line - 1) + source, str(path), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, module.__dict__)
        if expected is not None:
            assert printed.getvalue() == expected


def test_there_is_something_to_run():
    assert {"README.md", "space.md"} <= {path.name for path in WITH_CODE}


def test_the_readme_starts_in_fifteen_lines():
    """Beside imports and blank lines: what a newcomer has to type."""
    (_, first, _), *_ = blocks(ROOT / "README.md")
    lines = [line for line in first.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 15


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_links_lead_to_files(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.slow
def test_the_readme_runs_as_a_script(tmp_path):
    """With two short trials in the place of a budget, which a busy machine could spend on nothing."""
    source = "\n".join(source for _, source, _ in blocks(ROOT / "README.md"))
    assert 'budget="60s"' in source
    ast.parse(source)
    script = tmp_path / "readme.py"
    script.write_text(source.replace('budget="60s"', "trials=2, epochs=1"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert (tmp_path / "runs" / "readme" / "study.db").exists()
