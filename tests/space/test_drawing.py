"""Drawings as a person reads them."""

import five
import pytest
import torch.nn

from searchitect.space import Space, integer, lazy, named, one_of, real, repeat

L = lazy(torch.nn)

CNN = """\
Sequential
├─ stem: Sequential
│  ├─ Conv2d([8 | 16 | 24], kernel [3 | 5 | 7], padding same)
│  ├─ BatchNorm2d
│  └─ one of ReLU | SiLU
├─ early: repeat 1 to 3 · each copy for itself: one of
│  ├─ conv = Sequential
│  │  ├─ Conv2d([8 | 16], kernel [3 | 5 | 7], padding same)
│  │  ├─ BatchNorm2d
│  │  └─ one of ReLU | SiLU
│  ├─ skip = Identity
│  └─ pool = MaxPool2d(kernel 3, padding 1)
├─ MaxPool2d(kernel 2)"""


def test_a_space_shows_its_choices():
    assert five.cnn().draw().startswith(CNN)


def test_ties_and_repeated_options_are_not_drawn_twice():
    drawing = five.nb201(cells=2).draw()
    assert "edges.1: one of none | skip | conv1 | conv3 | pool (as above)" in drawing
    assert "edges.0: tied to 0-1" in drawing
    assert len(drawing.splitlines()) < 75
    assert len(five.darts().draw().splitlines()) < 65


def test_an_architecture_shows_what_was_chosen():
    space = five.cnn()
    fixed = {d.name: d.labels[0] for d in space.decisions if d.name.startswith("stem")}
    chosen = {**fixed, "early": 1, "early.0": "skip", "late": 2, "late.0": "pool", "late.1": "pool"}
    drawing = space.draw(space.architecture(chosen))
    assert (
        drawing
        == """\
Sequential
├─ Conv2d(8, kernel 3, padding same) → BatchNorm2d → ReLU
├─ Sequential · Identity
├─ MaxPool2d(kernel 2)
├─ Sequential · 2 × MaxPool2d(kernel 3, padding 1)
└─ AdaptiveAvgPool2d(output_size 1) → Flatten → Linear(OUTPUTS)"""
    )


def test_values_are_written_shortly():
    width = integer(8, 64, 8)
    network = L.Sequential(
        L.Linear(width, width * 2), L.Dropout(real(0, 0.5)), named("act", one_of(a=L.ReLU())),
        repeat(one_of(L.ReLU(), L.SiLU()), 2),
    )  # fmt: skip
    assert (
        Space(network).draw()
        == """\
Sequential
├─ Linear([8..64 step 8] × 2)
├─ Dropout(p [0..0.5])
├─ act: one of a = ReLU
└─ repeat 2 · all copies alike: one of ReLU | SiLU"""
    )


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_width_is_kept_and_cuts_are_marked(width):
    space = five.mobilenet()
    for drawing in (space.draw(width=width), space.draw(space.sample(0), width=width)):
        lengths = [len(line) for line in drawing.splitlines()]
        assert max(lengths) <= width
    assert "…" in space.draw(width=40)
    assert "…" not in space.draw(width=200)
