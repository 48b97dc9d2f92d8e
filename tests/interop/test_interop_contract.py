"""What the adapters ask of a trial is what a trial has; files whose library is missing say so.

Lightning and Accelerate are not installed where every test runs (14 s of imports and training each): their own tests
are skipped there, and this file keeps the other side of the contract.
"""

import ast
import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

import searchitect.interop
from searchitect.errors import UsageError
from searchitect.evaluators.base import Task
from searchitect.evaluators.function import LiveTrial
from searchitect.space import Architecture

FOLDER = Path(searchitect.interop.__file__).parent
ADAPTERS = {"lightning": "lightning", "accelerate": "accelerate"}


def asked_for(path):
    """Names N of every `trial.N` in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wholes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    own = {n.attr for n in wholes if isinstance(n.value, ast.Name) and n.value.id == "trial"}
    held = {n.attr for n in wholes if isinstance(n.value, ast.Attribute) and n.value.attr == "trial"}
    return own | held


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_trial_has_what_the_adapter_asks_for(name):
    trial = LiveTrial(
        Task(0, {}, 0, 3), SimpleNamespace(device="cpu", threads=1, folder=None), Architecture("toy", {}), 1
    )
    names = asked_for(FOLDER / f"{name}.py")
    assert {"device", "folder"} <= names
    assert all(hasattr(trial, attribute) for attribute in names)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_library_is_named_with_its_extra(name):
    if importlib.util.find_spec(ADAPTERS[name]):
        pytest.skip(f"{name} is installed here")
    with pytest.raises(UsageError, match=rf"pip install 'searchitect\[{name}\]'"):
        importlib.import_module(f"searchitect.interop.{name}")
