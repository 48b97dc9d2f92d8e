"""docs/faults.md says what the tests of this folder test."""

import pytest
from fault_table import DOCUMENT, document, rows


def test_the_page_is_in_step():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run python tests/faults/fault_table.py"


def test_a_test_without_fault_and_outcome_is_refused(tmp_path):
    file = tmp_path / "test_fault_x.py"
    file.write_text('def test_a():\n    """Fault → outcome."""\n\ndef test_b():\n    """Only words."""\n')
    with pytest.raises(ValueError, match="test_b needs"):
        rows(file)
    file.write_text('def test_a():\n    """Fault\n    of two lines → outcome."""\n')
    assert rows(file) == [("Fault of two lines", "outcome", "test_a")]
