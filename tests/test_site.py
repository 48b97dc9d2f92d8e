"""The documentation builds as a site without a warning; what it claims to be short is short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHORT = {"Climb": 20, "Scaled": 8, "small": 8, "evaluate": 12}  # class or function: the most lines allowed


def test_every_page_is_in_the_menu():
    menu = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert menu == {path.name for path in (ROOT / "docs").glob("*.md")}


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocstrings", reason="mkdocs and mkdocstrings are not installed (extra 'docs')")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    reference = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("searchitect.study.search", "searchitect.manual.Manual", "searchitect.strategies.base.Strategy"):
        assert f'id="{name}"' in reference, name


@pytest.mark.parametrize("name", SHORT)
def test_extensions_are_as_short_as_they_say(name):
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    most = SHORT[name]
    nodes = [node for source in BLOCK.findall(page) for node in ast.parse(source).body]
    sources = [source for source in BLOCK.findall(page) if re.search(rf"(class|def) {name}\(", source)]
    node = next(n for n in nodes if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and n.name == name)
    lines = sources[0].splitlines()[node.lineno - 1 : node.end_lineno]
    count = sum(bool(line.strip()) for line in lines)
    assert count <= most
    assert f": {count} lines" in page, f"{name} has {count} lines"
