"""A verdict that the user's own function measured must not claim to be a test on unread data."""

import pytest
from report_fakes import finished_meta, many, snapshot, verdict

from searchitect.report import page, terminal


@pytest.mark.parametrize(("items", "page_says", "terminal_says"), [
    (0, "Measured by your own function", "Accuracy by your own function with 95 % intervals"),
    (360, "360 test items that the search never saw", "Test accuracy with 95 % intervals"),
])  # fmt: skip
def test_where_the_numbers_come_from_is_said(items, page_says, terminal_says):
    seen = snapshot(finished_meta(verdict=verdict(test_items=items)), many(6))
    text = " ".join(page.render(seen).split())
    assert page_says in text
    assert ("never saw" in text) == (items > 0)
    assert terminal_says in terminal.render(seen)
