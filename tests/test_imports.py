"""No circles among files, a face that loads nothing heavy, and nothing dangerous in the source."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import searchitect

SOURCE = Path(searchitect.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def circles(arrows):
    """Strongly connected components of more than one file (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def test_the_circle_finder_finds_circles():
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c"]]
    assert circles({"a": ["b"], "b": []}) == []


def test_there_are_no_circles_among_files():
    graph = grimp.build_graph("searchitect", exclude_type_checking_imports=True)
    assert circles({m: sorted(graph.find_modules_directly_imported_by(m)) for m in sorted(graph.modules)}) == []


def loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_face_is_sorted_complete_and_light():
    assert sorted(searchitect.__all__, key=lambda n: (not n.isupper(), n.lower() == n, n)) == searchitect.__all__
    assert all(getattr(searchitect, name) is not None for name in searchitect.__all__)
    assert not loaded("import searchitect") & {"torch", "numpy", "sklearn", "ray", "rich", "click", "msgspec"}
    heavy = loaded("import searchitect.session.run") & {"optuna", "sklearn", "scipy.stats", "pandas"}
    assert not heavy, "seconds that most searches and all workers would wait for"
    assert not loaded("from searchitect import Space, lazy, one_of") & {"torch", "numpy", "sklearn"}


BANNED_IMPORTS = {"pickle", "dill", "joblib", "marshal", "shelve", "yaml"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
PICKLES_THROUGH_PIPES = {"executors/shipping.py"}
CONTRACTS = {"testing/evaluator.py"}  # sends an evaluator through the same pickle as workers get


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_in_the_source_can_run_a_strangers_file(path):
    name = str(path.relative_to(SOURCE))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            roots = {n.partition(".")[0] for n in names}
            if name not in PICKLES_THROUGH_PIPES | CONTRACTS:
                assert not roots & (BANNED_IMPORTS | {"cloudpickle"}), (name, node.lineno)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in BANNED_CALLS, (name, node.lineno)
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                assert (node.func.value.id, node.func.attr) not in {("torch", "load"), ("os", "system")}, (
                    name,
                    node.lineno,
                )
            assert not any(k.arg == "shell" for k in node.keywords), (name, node.lineno)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_readable(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500, "split this file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            doc = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            assert node.end_lineno - node.lineno + 1 - doc <= 60, (node.name, node.lineno)
