"""Every example runs, as a script, with a small budget."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
TRIALS = {
    "ask_tell": "30",
    "classifier": "2",
    "own_loop": "6",
    "own_space": "3",
    "with_accelerate": "2",
    "with_lightning": "2",
}
NEEDS = {"with_accelerate": "accelerate", "with_lightning": "lightning"}  # libraries of extras; see tests/interop


def test_every_example_is_listed():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(TRIALS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_example(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed (an extra)")
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), TRIALS[name], str(tmp_path / "study")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr, done.stderr
