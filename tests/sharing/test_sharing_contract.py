"""Every method keeps the contract, on the smallest cell space and on one whose options follow their input."""

import pytest
from helpers_sharing import L, cell_space, mixed_space, narrow_space, partial_space, real_space

from searchitect.errors import UsageError
from searchitect.sharing import METHODS, method_class
from searchitect.space import OUTPUTS, Space, one_of
from searchitect.spaces import load_space
from searchitect.testing.sharing import SharingContract


class OnCells(SharingContract):
    refused = narrow_space(), "0.width"

    def make(self):
        return cell_space()


class TestDarts(OnCells):
    method, wrong = "darts", {"order": 3, "second": "third", "lr": -1.0}


class TestDartsSecondOrder(OnCells):
    method, options = "darts", {"order": 2}


class TestDartsSecondOrderByDifferences(OnCells):
    method, options = "darts", {"order": 2, "second": "finite"}


class TestGdas(OnCells):
    method, wrong = "gdas", {"first": 0.0, "last": -1.0}


class TestSnas(OnCells):
    method, wrong = "snas", {"first": 0.0, "last": -1.0}
    refused = real_space(), "1.drop"


class TestPcDarts(SharingContract):
    method, wrong = "pcdarts", {"k": 0, "warmup": 1.0}
    refused = load_space("nb201", cells=1, width=4), "0-1"

    def make(self):
        return partial_space()


class TestDrNas(OnCells):
    method, wrong = "drnas", {"regularise": -1.0}


class TestProxyless(OnCells):
    method, wrong = "proxyless", {"lr": -1.0}


class TestEnas(OnCells):
    method, options, wrong = "enas", {"drawn": 3, "samples": 2}, {"drawn": 0, "samples": 0, "decay": 1.0}
    refused = None

    def make(self):
        return mixed_space()


class TestSpos(OnCells):
    method, options, wrong = "spos", {"drawn": 3}, {"drawn": 0}
    refused = None

    def make(self):
        return mixed_space()


class TestFairNas(TestSpos):
    method = "fairnas"


def test_every_method_has_its_row():
    rows = {case.method for case in globals().values() if isinstance(case, type) and issubclass(case, SharingContract)}
    assert rows - {""} == set(METHODS)


def test_a_space_of_one_architecture_is_trained_by_all():
    for name in METHODS:
        case = type("One", (SharingContract,), {"method": name, "epochs": 1, "shape": (5,)})()
        space = Space(L.Sequential(L.LazyLinear(4), L.ReLU(), L.LazyLinear(OUTPUTS)))
        (epoch,) = case.run(case.search(space=space))
        assert epoch.derived == {}


def test_a_space_without_weights_is_refused():
    case = type("Empty", (SharingContract,), {"method": "spos", "shape": (3,)})()
    with pytest.raises(UsageError, match="has weights"):
        case.search(space=Space(L.Sequential(one_of(L.Tanh(), L.ReLU()))))


@pytest.mark.parametrize("name", [n for n in METHODS if method_class(n).mixes])
def test_kernels_are_weighed_like_gates(name):
    conv = L.LazyConv2d(4, one_of(3, 5), padding="same")
    space = Space(L.Sequential(conv, one_of(L.Identity(), L.Tanh()), L.Flatten(), L.LazyLinear(OUTPUTS)))
    case = type("Kernels", (SharingContract,), {"method": name, "epochs": 1})()
    (epoch,) = case.run(case.search(space=space))
    assert set(epoch.derived) == {"0.kernel_size", "1"}
    assert len(epoch.gates["0.kernel_size"]) == 2
    assert epoch.options["0.kernel_size"] == (3, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_searches_a_published_space(name):
    space = load_space("nb201", cells=1, width=4, follow=name == "pcdarts")
    case = type("Published", (SharingContract,), {"method": name, "epochs": 1, "shape": (3, 8, 8)})()
    (epoch,) = case.run(case.search(space=space))
    assert space.architecture(dict(epoch.derived))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_searches_layers_with_skips(name):
    space = load_space("macro", layers=3, width=4, halvings=1)
    case = type("Layers", (SharingContract,), {"method": name, "epochs": 1, "shape": (3, 8, 8)})()
    (epoch,) = case.run(case.search(space=space))
    assert space.architecture(dict(epoch.derived))
    assert epoch.guard["chosen"] == 3  # a skip beside an operation is no collapse


def test_another_name_of_a_method_is_refused():
    with pytest.raises(UsageError, match=r"'dart' is not known: write one of darts, gdas"):
        method_class("dart")
