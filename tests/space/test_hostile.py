"""Space and architecture files from a stranger: refused quickly, in our own errors, and nothing is imported."""

import copy
import json
import pickle
import sys
import time
import tracemalloc

import five
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchitect.errors import ArchitectureError, SearchitectError, SpaceError
from searchitect.space import Architecture, Layer, Space, lazy, one_of, real

RELU = {"kind": "Layer", "target": "torch.nn.ReLU", "module": True, "args": []}


def file_of(*nodes, root=None, **more):
    return json.dumps({"format": 1, "nodes": list(nodes), "root": len(nodes) - 1 if root is None else root, **more})


def layer(target="torch.nn.Sequential", *parts, **more):
    return {"kind": "Layer", "target": target, "module": True, "args": [["*", {"tuple": list(parts)}]], **more}


def choice(options, labels):
    return {"kind": "Choice", "options": options, "labels": labels}


def doubling(levels):
    """Each node holds the one before it twice: 2^levels layers in a few lines."""
    return file_of(RELU, *[layer("torch.nn.Sequential", {"node": i}, {"node": i}) for i in range(levels)])


HOSTILE = {
    "not json": "os.system('true')",
    "empty": "",
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "other format": file_of(RELU).replace('"format": 1', '"format": 2'),
    "no nodes": '{"format": 1, "nodes": [], "root": 0}',
    "root outside": file_of(RELU, root=7),
    "root negative": file_of(RELU, root=-1),
    "root true": file_of(RELU, root=True),
    "root half": file_of(RELU, root=0.0),
    "duplicate keys": '{"format": 1, "nodes": [{"kind": "Layer", "kind": "Int"}], "root": 0}',
    "nan literal": '{"format": 1, "nodes": [{"kind": "Float", "low": NaN, "high": 1, "log": false}], "root": 0}',
    "infinity literal": file_of(layer("torch.nn.Sequential", 1)).replace("[1]", "[Infinity]"),
    "dunder attribute": file_of(layer("torch.nn.ReLU.__init__.__globals__")),
    "dunder module": file_of(layer("__builtins__.exec")),
    "dunder import": file_of(layer("__import__")),
    "path as target": file_of(layer("../../etc/passwd")),
    "code as target": file_of(layer("os.system('true')")),
    "target number": file_of({"kind": "Layer", "target": 3, "module": True, "args": []}),
    "unknown kind": file_of({"kind": "Exec", "code": "1"}),
    "kind as a list": file_of({"kind": [], "code": "1"}),
    "no kind": file_of({}),
    "node not a mapping": file_of(3),
    "forward reference": file_of(layer("torch.nn.Sequential", {"node": 5}), RELU),
    "itself": file_of(layer("torch.nn.Sequential", {"node": 0})),
    "unknown value": file_of(layer("torch.nn.Sequential", {"pickle": "gASV"})),
    "two keys in a value": file_of(layer("torch.nn.Sequential", {"node": 0, "tuple": []})),
    "deep values": file_of(RELU).replace('"args": []', '"args": [["p", ' + "[" * 10_000 + "]" * 10_000 + "]]"),
    "deep nodes": file_of(RELU, *[layer("torch.nn.Sequential", {"node": i}) for i in range(10_000)]),
    "doubling 30 times": doubling(30),
    "doubling 100 times": doubling(100),
    "too many nodes": file_of(*[RELU] * 100_001),
    "10^9 copies": file_of(RELU, {"kind": "Repeat", "copies": [{"node": 0}] * 10_001, "low": 1}),
    "repeats of repeats": file_of(
        RELU, *[{"kind": "Repeat", "copies": [{"node": i}] * 1_000, "low": 1} for i in range(3)]
    ),
    "low above copies": file_of(RELU, {"kind": "Repeat", "copies": [{"node": 0}], "low": 2}),
    "low is text": file_of(RELU, {"kind": "Repeat", "copies": [{"node": 0}], "low": "1"}),
    "no options": file_of(choice([], [])),
    "labels missing": file_of(RELU, choice([{"node": 0}, {"node": 0}], ["a"])),
    "labels equal": file_of(RELU, choice([{"node": 0}, {"node": 0}], ["a", "a"])),
    "labels lists": file_of(RELU, choice([{"node": 0}, {"node": 0}], [[1], [2]])),
    "labels mapping": file_of(RELU, choice([{"node": 0}], {"a": 1})),
    "subset explosion": file_of(
        RELU, {"kind": "Subset", "options": [{"node": 0}] * 60, "labels": [f"o{i}" for i in range(60)], "k": 30}
    ),
    "subset k": file_of(RELU, {"kind": "Subset", "options": [{"node": 0}], "labels": ["a"], "k": 9}),
    "int 1e308": file_of({"kind": "Int", "low": 0, "high": 1e308, "step": 1, "log": False}),
    "int step 0": file_of({"kind": "Int", "low": 0, "high": 1, "step": 0, "log": False}),
    "int of 5,000 digits": file_of(RELU).replace('"args": []', '"args": [["p", ' + "9" * 5_000 + "]]"),
    "int of 400 digits": file_of({"kind": "Int", "low": 0, "high": int("9" * 400), "step": 1, "log": False}),
    "float beyond": '{"format": 1, "nodes": [{"kind": "Float", "low": 0, "high": 1e999, "log": false}], "root": 0}',
    "value at the root": file_of({"kind": "Int", "low": 0, "high": 1, "step": 1, "log": False}),
    "bad label": file_of(layer("torch.nn.ReLU", label="../x")),
    "label number": file_of(layer("torch.nn.ReLU", label=3)),
    "tie mapping": file_of(layer("torch.nn.ReLU", tie={"a": 1})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_space_is_refused_in_a_second(case):
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(SpaceError) as caught:
        Space.from_json(HOSTILE[case])
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5  # under a second without the memory tracer; the test below measures that
    assert peak < 200e6
    assert len(str(caught.value)) < 600


def test_all_hostile_spaces_together_are_refused_quickly(fresh_heap):
    slowest = 0.0
    for text in HOSTILE.values():
        started = time.process_time()
        with pytest.raises(SpaceError):
            Space.from_json(text)
        slowest = max(slowest, time.process_time() - started)
    assert slowest < 1.0


def test_a_foreign_target_is_a_name_until_the_user_brings_it():
    target = "searchitect_canary.system"
    text = file_of(layer(target, "touch canary"), {**layer("os.system", "true"), "module": False},
                   layer("torch.nn.Sequential", {"node": 0}, {"node": 1}))  # fmt: skip
    before = set(sys.modules)
    space = Space.from_json(text)
    plan = space.plan(space.sample(0))
    space.draw()
    space.key(space.sample(0))
    assert set(sys.modules) == before
    assert plan.args["*"][1].target == "os.system"
    assert plan.args["*"][1].args["*"] == ("true",)  # not called

    from searchitect.errors import BuildError
    from searchitect.nets import build

    with pytest.raises(BuildError, match=target):
        build(space, space.sample(0), (3,), outputs=2)


ARCHITECTURES = {
    "not json": "{",
    "list": "[]",
    "other format": '{"format": 2, "space": "x", "decisions": {}}',
    "more fields": '{"format": 1, "space": "x", "decisions": {}, "class": "os:system"}',
    "duplicate": '{"format": 1, "space": "x", "decisions": {"a": 1, "a": 2}}',
    "nan": '{"format": 1, "space": "x", "decisions": {"a": NaN}}',
    "beyond": '{"format": 1, "space": "x", "decisions": {"a": 1e999}}',
    "digits": '{"format": 1, "space": "x", "decisions": {"a": ' + "9" * 5_000 + "}}",
    "nested": '{"format": 1, "space": "x", "decisions": {"a": {"b": 1}}}',
    "deep": '{"format": 1, "space": "x", "decisions": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}",
    "many": json.dumps({"format": 1, "space": "x", "decisions": {str(i): i for i in range(100_001)}}),
    "huge": " " * 10_000_001,
    "space number": '{"format": 1, "space": 3, "decisions": {}}',
    "decisions list": '{"format": 1, "space": "x", "decisions": []}',
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_hostile_architecture_is_refused_in_a_second(case):
    started = time.process_time()
    with pytest.raises(ArchitectureError) as caught:
        Architecture.from_json(ARCHITECTURES[case])
    assert time.process_time() - started < 1.0
    assert len(str(caught.value)) < 600


SPACE = five.cnn(depth=2)
TEXT = SPACE.to_json()
ARCHITECTURE = SPACE.sample(0).to_json()


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_files_are_read_or_refused(data):
    for text, read in ((TEXT, Space.from_json), (ARCHITECTURE, lambda t: SPACE.validate(Architecture.from_json(t)))):
        at = data.draw(st.integers(0, len(text) - 1))
        end = min(len(text), at + data.draw(st.integers(0, 12)))
        piece = data.draw(
            st.sampled_from(["", "0", "-1", "null", "true", '"', "[]", "{}", "1e308", '"node"', ",", "x"])
        )
        try:
            found = read(text[:at] + piece + text[end:])
        except SearchitectError:
            continue
        if isinstance(found, Space):
            assert found.size.finite >= 1
            found.draw()
            sample = found.sample(1)
            found.encode(sample)
            try:
                found.key(sample)
            except SearchitectError:
                continue


def test_numbers_and_text_come_back_bit_by_bit():
    values = [0.1, 1e-300, -0.0, 5e-324, 1.7976931348623157e308, 2**53, -1, True, None, "é\u2028<&>", (1, 2), [1, [2]]]
    args = {"*": tuple(values), "more": {"a": (1.5, float("inf")), "b": float("-inf")}}
    space = Space(Layer("toy.Layer", args))
    again = Space.from_json(space.to_json())
    assert again.to_json() == space.to_json()
    assert repr(again.root.args) == repr(args)
    deep = Space(Layer("toy.Layer", {"p": real(0.1, 0.30000000000000004, name="p")}))
    sample = deep.sample(5)
    assert Architecture.from_json(sample.to_json()).decisions["p"].hex() == sample.decisions["p"].hex()


class Known:
    """Stands for a user's class in the copies below."""


def test_copies_keep_ties_targets_and_baseline():
    width = one_of(1, 2)
    make = lazy(Known, module=True)
    assert make().target.endswith("test_hostile.Known")
    space = Space(Layer("toy.Layer", {"*": (width, make(), width)}), name="mine", baseline={"0": 1})
    for again in (copy.copy(space), copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert (again.fingerprint, again.ties, again.name) == (space.fingerprint, space.ties, "mine")
        assert again.targets == space.targets == {f"{Known.__module__}.Known": Known}
        assert again.baseline == {"0": 1}
