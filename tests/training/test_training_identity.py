"""Which function of the user is which: what could change a result gives another number, and nothing else does."""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchitect.training.identity import identity, tensor_identity

SCALE = 0.5
HEAVY = torch.tensor([1.0, 2.0])


def helper(x):
    return x * 2


def plain(outputs, y):
    return F.cross_entropy(outputs, y)


def remarked(outputs, y):
    # a comment, and other lines
    return F.cross_entropy(
        outputs,
        y,
    )


def scaled(outputs, y):
    return SCALE * helper(F.cross_entropy(outputs, y, weight=HEAVY))


def factory(weight):
    def loss(outputs, y):
        return weight * F.cross_entropy(outputs, y)

    return loss


def nested(outputs, y):
    return sum((lambda part: SCALE * part)(part) for part in outputs)


@functools.lru_cache
def cached(x):
    return SCALE * x


@functools.lru_cache
def cached_otherwise(x):
    return x


class Focal:
    def __init__(self, gamma):
        self.gamma = gamma

    def __call__(self, outputs, y):
        return outputs.mean() * self.gamma

    def other(self, outputs, y):
        return outputs.sum() * self.gamma


class Slotted:
    __slots__ = ("gamma",)

    def __init__(self, gamma):
        self.gamma = gamma

    def __call__(self, outputs, y):
        return outputs.mean() * self.gamma


@dataclass(frozen=True)
class Settings:
    margin: float = 1.0
    names: tuple[str, ...] = ("a", "b")


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width)
        nn.init.constant_(self.layer.weight, 0.25)
        nn.init.constant_(self.layer.bias, 0.0)

    def forward(self, x, y):
        return self.layer(x).mean()


def stepping(net, settings):
    return lambda network, x, y: network(x).mean() + net(x, y) * settings.margin


def moved(net):
    with torch.no_grad():
        net.layer.bias += 1
    return net


first, second = lambda o, y: o.mean(), lambda o, y: o.sum()

ALL_DIFFERENT = {
    "plain": plain,
    "of a library": F.cross_entropy,
    "another of it": F.mse_loss,
    "first lambda": first,
    "second lambda": second,
    "closure": factory(0.5),
    "closure with another number": factory(0.25),
    "closure with a tensor": factory(torch.tensor([0.5, 0.25])),
    "closure with another tensor": factory(torch.tensor([0.5, 0.5])),
    "closure with another type": factory(torch.tensor([0.5, 0.25], dtype=torch.float64)),
    "closure with an array": factory(np.array([0.5, 0.25])),
    "closure with a list": factory([0.5, 0.25]),
    "closure with a mapping": factory({"a": 0.5}),
    "closure with another mapping": factory({"a": 0.25}),
    "closure with a set": factory({0.5, 0.25}),
    "closure with a type": factory(torch.float32),
    "closure with another type of torch": factory(torch.float16),
    "partial": functools.partial(F.cross_entropy, label_smoothing=0.1),
    "partial with another number": functools.partial(F.cross_entropy, label_smoothing=0.2),
    "module": nn.CrossEntropyLoss(label_smoothing=0.1),
    "module with another number": nn.CrossEntropyLoss(label_smoothing=0.2),
    "module with a tensor": nn.CrossEntropyLoss(weight=torch.ones(3), label_smoothing=0.1),
    "other module": nn.MultiMarginLoss(),
    "object": Focal(2.0),
    "object with another number": Focal(3.0),
    "its method": Focal(2.0).other,
    "object with slots": Slotted(2.0),
    "with another number": Slotted(3.0),
    "step with a network": stepping(Net(3), Settings()),
    "step with a wider network": stepping(Net(4), Settings()),
    "step with other weights": stepping(moved(Net(3)), Settings()),
    "step with other settings": stepping(Net(3), Settings(margin=2.0)),
    "cached": cached,
    "cached otherwise": cached_otherwise,
}


def test_whatever_could_change_a_result_has_another_number():
    found = {name: identity(thing) for name, thing in ALL_DIFFERENT.items()}
    for name, number in found.items():
        assert [other for other, same in found.items() if same == number] == [name]


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (factory(0.5), factory(0.5)), (factory(torch.ones(3)), factory(torch.ones(3))), (Focal(2.0), Focal(2.0)),
        (nn.CrossEntropyLoss(torch.ones(3)), nn.CrossEntropyLoss(torch.ones(3))), (Slotted(1.0), Slotted(1.0)),
        (factory({"a": 1, "b": 2}), factory({"b": 2, "a": 1})),
        (stepping(Net(3), Settings()), stepping(Net(3), Settings())),
        (factory(torch.arange(6.0).reshape(2, 3).T), factory(torch.arange(6.0).reshape(2, 3).T.contiguous())),
        (factory((1, 2)), factory(tuple(range(1, 3)))),
    ],
)  # fmt: skip
def test_the_same_made_twice_has_the_same_number(one, same):
    assert identity(one) == identity(same)


def test_comments_and_line_breaks_change_nothing_but_the_name_does():
    renamed = remarked.__code__.replace(co_name="plain", co_qualname="plain")
    again = type(plain)(renamed, globals(), "plain")
    again.__qualname__ = "plain"
    assert identity(again) == identity(plain)
    assert identity(remarked) != identity(plain)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [(scaled, "SCALE", 0.25), (scaled, "HEAVY", torch.tensor([1.0, 3.0])), (scaled, "helper", lambda x: x * 3),
     (nested, "SCALE", 0.25), (cached, "SCALE", 0.25)],
)  # fmt: skip
def test_what_a_function_reads_from_its_module_is_a_part_of_it(monkeypatch, function, name, value):
    before = identity(function)
    monkeypatch.setitem(globals(), name, value)
    assert identity(function) != before
    assert identity(plain) == identity(plain)


def test_names_that_nobody_reads_are_no_part(monkeypatch):
    before = identity(plain)
    monkeypatch.setitem(globals(), "SCALE", 7.0)
    assert identity(plain) == before


def test_what_hangs_together_in_circles_has_a_number():
    thing = Focal(2.0)
    thing.itself, ring = thing, {}
    ring["ring"] = [ring]
    thing.ring = ring
    assert identity(thing) == identity(thing)
    assert identity(thing) != identity(Focal(2.0))


def test_a_copy_that_was_shipped_by_value_has_the_same_number():
    """A worker knows a function of a script only by its code."""
    made = {}
    exec(compile(SHIPPED, "/home/me/train.py", "exec"), made)
    loss = cloudpickle.loads(cloudpickle.dumps(made["loss"]))
    assert loss is not made["loss"]
    assert identity(loss) == identity(made["loss"])


SHIPPED = """
import torch
KINDS, WEIGHTS = {"a", "b", "c", "d"}, (0.5, 0.25)

def half(x):
    return x / 2

def loss(outputs, y, kind="a"):
    return WEIGHTS[0] * half(outputs.mean()) if kind in {"a", "b", "c"} or kind in KINDS else outputs.sum()
"""
ALONE = """
import sys
from searchitect.training.identity import identity
made = {}
exec(compile(sys.argv[1], "/elsewhere/train.py", "exec"), made)
print(identity(made["loss"]))
"""


@pytest.mark.slow
def test_another_process_with_another_order_of_sets_finds_the_same_number():
    made = {}
    exec(compile(SHIPPED, "/home/me/train.py", "exec"), made)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, SHIPPED], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "12"},
    )  # fmt: skip
    assert int(done.stdout) == identity(made["loss"])


def test_tensors_are_told_apart_by_values_type_and_shape():
    x = torch.arange(6.0)
    others = [x + 1, x.double(), x.reshape(2, 3), x.bfloat16()]
    assert len({tensor_identity(t) for t in (x, *others)}) == 5
    assert tensor_identity(x.reshape(2, 3).T) == tensor_identity(x.reshape(2, 3).T.contiguous())
    assert tensor_identity(x.clone().requires_grad_()) == tensor_identity(x)
