"""Every way to write a space wrongly: refused where it is written, in words that help."""

import math

import pytest
import torch.nn

from searchitect import nets
from searchitect.errors import SpaceError
from searchitect.space import OUTPUTS, Choice, Layer, Space, integer, lazy, named, one_of, real, repeat, subset

L = lazy(torch.nn)
M = lazy(nets)


def block(width, kernel):
    return L.Conv2d(width, width, kernel)


def itself():
    node = L.Sequential(L.ReLU())
    node.args["*"] = (node,)
    return Space(node)


def looped_list():
    items = []
    items.append(items)
    return L.Sequential(items)


def deep(levels):
    node = L.ReLU()
    for _ in range(levels):
        node = L.Sequential(node)
    return Space(node)


def heavy():
    node = L.ReLU()
    for _ in range(20):
        node = repeat(node, 4, 4)
    return Space(node)


def same_name(name):
    class Block(torch.nn.Module):
        def __init__(self, size):
            super().__init__()

    Block.__qualname__ = name
    return Block


# what is written, and the words that the message must hold: what was got, what is allowed, what to do
WRONG = {
    "empty one_of": (lambda: one_of(), ["one_of()", "at least one", "one_of(3, 5)"]),
    "duplicate value": (lambda: one_of(3, 5, 3), ["3 twice", "leave one out"]),
    "1 and True": (lambda: one_of(1, True), ["True twice", "count as the same", "keywords"]),
    "1 and 1.0": (lambda: one_of(1, 1.0), ["1.0 twice", "count as the same"]),
    "value and keyword": (lambda: one_of("a", a=L.ReLU()), ["'a' twice"]),
    "nan option": (lambda: one_of(1.0, math.nan), ["nan", "write a number or None"]),
    "inf option": (lambda: one_of(1.0, math.inf), ["inf", "finite"]),
    "nan argument": (lambda: L.Dropout(math.nan), ["torch.nn.Dropout", "'p'", "nan", "write a number"]),
    "list of nodes": (lambda: one_of([L.ReLU()], [L.SiLU()]), ["needs a keyword", "first="]),
    "class, not a call": (lambda: L.Sequential(L.ReLU), ["argument 0", "class itself", "L.ReLU()"]),
    "class as an option": (lambda: one_of(L.ReLU, L.SiLU), ["class itself", "call it"]),
    "finished module": (lambda: L.Sequential(torch.nn.ReLU()), ["argument 0", "ReLU", "lazy()"]),
    "wrong arguments": (lambda: L.Conv2d(3), ["torch.nn.Conv2d", "out_channels", "kernel_size"]),
    "unknown argument": (lambda: L.ReLU(size=3), ["torch.nn.ReLU", "size"]),
    "lazy of a value": (lambda: lazy(3), ["lazy()", "3", "class"]),
    "calling a description": (lambda: L.ReLU()(3), ["ReLU", "description", "lazy(MyBlock)"]),
    "calling a choice": (lambda: one_of(L.ReLU(), L.SiLU())(3), ["Choice", "description", "lazy(MyBlock)"]),
    "looping over a node": (lambda: list(one_of(1, 2)), ["Choice", "no parts"]),
    "module times number": (lambda: L.ReLU() * 3, ["ReLU", "is a module", "repeat("]),
    "number plus choice of modules": (lambda: 1 + one_of(L.ReLU(), L.SiLU()), ["is a module", "values"]),
    "subset of values": (lambda: subset(1, 2, k=1), ["subset()", "modules", "got 1"]),
    "subset k of 0": (lambda: subset(L.ReLU(), L.SiLU(), k=0), ["k=0", "2 options", "1 to 2"]),
    "subset k too large": (lambda: subset(L.ReLU(), k=2), ["k=2", "1 to 1"]),
    "subset k true": (lambda: subset(L.ReLU(), k=True), ["k=True", "whole number"]),
    "subset with a plus": (lambda: subset(**{"a+b": L.ReLU()}, k=1), ["'a+b'", "letters"]),
    "subset too large": (lambda: subset(*[L.ReLU() for _ in range(40)], k=20), ["100,000 outcomes", "smaller"]),
    "repeat of a value": (lambda: repeat(one_of(1, 2), 1, 2), ["repeat()", "modules", "Choice"]),
    "repeat of a string": (lambda: repeat("conv", 1, 2), ["repeat()", "'conv'", "callable"]),
    "repeat of a wide callable": (lambda: repeat(block, 1, 2), ["block", "width, kernel", "lambda"]),
    "repeat returns a class": (lambda: repeat(lambda: L.ReLU, 1), ["repeat() copy", "class itself"]),
    "repeat bounds": (lambda: repeat(L.ReLU(), 3, 2), ["3, 2", "low <= high"]),
    "repeat zero": (lambda: repeat(L.ReLU(), 0, 0), ["0, 0", "1 <= high"]),
    "repeat half": (lambda: repeat(L.ReLU(), 0.5, 2), ["0.5", "whole numbers"]),
    "repeat too often": (lambda: repeat(L.ReLU(), 1, 10**9), ["1000000000", "10,000"]),
    "integer bounds": (lambda: integer(5, 2), ["integer(5, 2, 1)", "low <= high"]),
    "integer half": (lambda: integer(1, 2.5), ["2.5", "whole numbers"]),
    "integer step": (lambda: integer(1, 5, 0), ["step >= 1"]),
    "integer log of zero": (lambda: integer(0, 5, log=True), ["integer(0, 5", "low >= 1"]),
    "integer too large": (lambda: integer(0, 10**400), ["bounds", "2**53"]),
    "real bounds": (lambda: real(1.0, 1.0), ["real(1.0, 1.0)", "low < high"]),
    "real infinite": (lambda: real(0.0, math.inf), ["inf", "finite"]),
    "real nan": (lambda: real(math.nan, 1.0), ["nan", "finite"]),
    "real text": (lambda: real("0", "1"), ["'0'", "numbers"]),
    "real log of zero": (lambda: real(0.0, 1.0, log=True), ["low > 0"]),
    "value at the root": (lambda: Space(one_of(1, 2)), ["describes a module", "Choice", "L.Sequential"]),
    "module at the root": (lambda: Space(torch.nn.ReLU()), ["describes a module", "ReLU", "Space(L."]),
    "nothing at the root": (lambda: Space(None), ["describes a module", "None"]),
    "mixed choice at the root": (lambda: Space(one_of(None, L.ReLU())), ["describes a module"]),
    "contains itself": (itself, ["Sequential", "contains itself", "repeat"]),
    "list contains itself": (looped_list, ["argument 0", "contains itself"]),
    "too deep": (lambda: deep(121), ["nested too deeply", "at most 120", "side by side"]),
    "far too deep": (lambda: deep(5_000), ["nested too deeply", "at most 120"]),
    "too many layers": (heavy, ["1.1e+12 layers", "at most 1,000,000", "repeat()"]),
    "one name, two parts": (
        lambda: Space(L.Sequential(named("a", one_of(L.ReLU(), L.SiLU())), named("a", one_of(L.ELU(), L.GELU())))),
        ["Sequential", "both named 'a'", "rename one"],
    ),
    "a name that looks like a path": (
        lambda: Space(L.Sequential(named("a.b", one_of(L.ReLU(), L.SiLU())),
                                   named("a", L.Sequential(named("b", one_of(L.ReLU(), L.SiLU())))))),
        ["both named 'a.b'", "rename one", "tie='a.b'"],
    ),
    "a name that a tie has": (
        lambda: Space(L.Sequential(named("a", one_of(L.ReLU(), L.SiLU())), one_of(L.ReLU(), L.SiLU(), tie="a"))),
        ["both named 'a'", "tie='a'"],
    ),
    "tie with other options": (
        lambda: Space(L.Sequential(one_of(x=L.ReLU(), y=L.SiLU(), tie="t"), one_of(x=L.ReLU(), z=L.ELU(), tie="t"))),
        ["both named 't'", "x, y", "x, z", "another name"],
    ),
    "tie with other decisions inside": (
        lambda: Space(L.Sequential(
            one_of(x=L.Dropout(one_of(0.1, 0.2)), y=L.SiLU(), tie="t"),
            one_of(x=L.Dropout(0.1), y=L.SiLU(), tie="t"))),
        ["both named 't'", "offer the same"],
    ),
    "tie with other bounds": (
        lambda: Space(L.Sequential(L.Dropout(real(0, 1, tie="p")), L.Dropout(real(0, 0.5, tie="p")))),
        ["both named 'p'", "0 to 1", "0 to 0.5"],
    ),
    "naming twice": (lambda: named("b", named("a", L.ReLU())), ["ReLU", "already named", "'b'"]),
    "naming a value": (lambda: named("a", 3), ["named('a', 3)", "only nodes"]),
    "two things, one name": (
        lambda: Space(L.Sequential(lazy(same_name("Block"))(one_of(1, 2)), lazy(same_name("Block"))(3))),
        ["two different things", "test_definition.Block", "rename one"],
    ),
    "no such class": (lambda: Space(L.Sequential(L.Conv2D(3, 4, 5))), ["torch.nn has no 'Conv2D'", "Conv2d"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_message_says_what_was_got_and_what_to_do(case):
    write, words = WRONG[case]
    with pytest.raises(AttributeError if case == "no such class" else SpaceError) as caught:
        write()
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"
    assert 20 < len(message) < 500
    assert "0x" not in message


BAD_NAMES = ["", " a", "a ", "a\nb", "a\tb", "x" * 256, "😀", "a😀", "../x", "a/b", "\x00", "\u200fx", "a\u202eb", "*",
             "#2", ".a", "a+b", "'", "a<b", 3, ("a",)]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=[repr(n)[:12] for n in BAD_NAMES])
def test_bad_names_are_refused_wherever_a_name_is_given(name):
    node = L.ReLU()
    places = [
        lambda: named(name, node), lambda: one_of(1, 2, name=name), lambda: one_of(1, 2, tie=name),
        lambda: integer(1, 2, name=name), lambda: repeat(node, 1, 2, name=name),
    ]  # fmt: skip
    if isinstance(name, str):
        places.append(lambda: one_of(**{name: 1, "b": 2}))
    for place in places:
        with pytest.raises(SpaceError, match="letters, digits") as caught:
            place()
        assert len(str(caught.value)) < 300
    assert node.label is None


@pytest.mark.parametrize("name", ["a", "3x3", "größe", "層", "stage 1", "a.b-c:d_e", "x" * 255])
def test_good_names_are_kept(name):
    space = Space(L.Sequential(named(name, one_of(L.ReLU(), L.SiLU()))))
    assert list(space.by_name) == [name]
    assert list(Space.from_json(space.to_json()).by_name) == [name]


class Describes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.act = L.ReLU()


class Calls(torch.nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x)


def test_describing_inside_init_says_where_choices_belong():
    with pytest.raises(
        SpaceError, match=r"torch.nn.ReLU is described inside Describes.__init__.*constructor arguments"
    ):
        Describes()


def test_a_choice_handed_to_a_real_module_says_so_when_called():
    with pytest.raises(SpaceError, match=r"description.*lazy\(MyBlock\)"):
        Calls(one_of(L.ReLU(), L.SiLU()))(torch.zeros(1))


def test_subclassing_a_description_names_the_class():
    with pytest.raises(SpaceError, match=r"class Block: a description cannot be a base class.*torch.nn.Module"):

        class Block(L.Module):
            pass


class Mine(torch.nn.Module):
    def __init__(self, width, act):
        super().__init__()
        self.width, self.act = width, act


def test_classes_of_ones_own_round_trip_and_local_ones_say_why_not():
    class Local(torch.nn.Module):
        pass

    space = Space(lazy(Mine)(one_of(1, 2), L.ReLU()))
    again = Space.from_json(space.to_json(), targets={f"{__name__}.Mine": Mine})
    assert again.targets[f"{__name__}.Mine"] is Mine
    assert again.fingerprint == space.fingerprint
    local = Space(L.Sequential(one_of(lazy(Local)(), L.ReLU())))
    assert local.size.finite == 2
    assert len(local.fingerprint) == 16
    with pytest.raises(SpaceError, match=r"Local is defined inside a function.*top of its module"):
        local.to_json()
    with pytest.raises(SpaceError, match="by lambda"):
        Space(L.Sequential(L.Dropout(lazy(lambda k: k / 10)(one_of(1, 2))))).to_json()


def test_values_are_computed_and_failing_ones_name_the_place():
    from searchitect.errors import ArchitectureError

    width = one_of(8, 16, name="width")
    layer = L.Linear(width, (width * 2 - 2) // 3 % 7, bias=True)
    space = Space(L.Sequential(layer, L.Linear(-width + 32, 3 + 2 * width), L.Dropout(1 / width)))
    plan = space.plan(space.architecture({"0.width": 16}))
    first, second, third = plan.args["*"]
    assert (first.args["in_features"], first.args["out_features"]) == (16, 30 // 3 % 7)
    assert (second.args["in_features"], second.args["out_features"]) == (16, 35)
    assert third.args["p"] == 1 / 16
    broken = Space(L.Sequential(L.Linear(16, 16 // one_of(0, 1, name="ratio"))))
    with pytest.raises(ArchitectureError, match=r"0.out_features.*floordiv.*ZeroDivisionError"):
        broken.plan(broken.architecture({"0.out_features.ratio": 0}))


def test_a_choice_with_one_option_is_no_decision():
    space = Space(L.Sequential(one_of(L.Linear(one_of(3), integer(5, 5))), repeat(L.ReLU(), 2)))
    assert space.decisions == ()
    assert space.plan(space.sample(0)).args["*"][0].target == "torch.nn.Linear"


def test_equal_objects_are_tied_and_listed_as_ties():
    tied = Space(L.Sequential(*[one_of(L.ReLU(), L.SiLU())] * 3))
    free = Space(repeat(lambda: one_of(L.ReLU(), L.SiLU()), 3))
    copies = Space(repeat(one_of(L.ReLU(), L.SiLU()), 3))
    assert [len(s.decisions) for s in (tied, free, copies)] == [1, 3, 1]
    assert [s.ties for s in (tied, free, copies)] == [["0"], [], ["0"]]


def test_repeat_gives_the_index_to_callables_that_take_one():
    plan = Space(repeat(lambda i: L.Linear(i + 1, i + 2), 3)).plan(Space(repeat(L.ReLU(), 3)).sample(0))
    assert [p.args["in_features"] for p in plan.args["*"]] == [1, 2, 3]


def test_outputs_is_a_symbol_until_it_is_known():
    space = Space(L.Linear(4, OUTPUTS * 2))
    assert "OUTPUTS" in space.draw()
    assert space.plan(space.sample(0), outputs=5).args["out_features"] == 10
    assert space.plan(space.sample(0)).args["out_features"].target == "operator.mul"


def test_nodes_made_by_hand_are_checked_too():
    with pytest.raises(SpaceError, match="2 options and 1 labels"):
        Choice([1, 2], [1])
    with pytest.raises(SpaceError, match="names a private attribute"):
        Layer("os.__dict__", {})
    with pytest.raises(SpaceError, match="not an import path"):
        Layer("os system", {})
    assert repr(one_of(1, 2, name="a")) == "<Choice 'a'>"


def test_a_name_at_the_root_begins_every_path():
    inner = one_of(L.Dropout(real(0, 1, name="p")), L.SiLU())
    assert sorted(Space(named("net", L.Sequential(inner))).by_name) == ["net.0", "net.0.Dropout.p"]
    assert sorted(Space(one_of(L.ReLU(), L.SiLU(), name="act")).by_name) == ["act"]
    assert sorted(Space(one_of(L.ReLU(), L.SiLU())).by_name) == ["choice"]
