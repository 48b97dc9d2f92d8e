"""Operations and their table: names that say all, sums that are right, files that come back or are refused."""

import json

import pytest
from torch import nn

from searchitect import OUTPUTS, Space, lazy, one_of, repeat
from searchitect.errors import BuildError, DataError, UsageError
from searchitect.hardware import LatencyTable, Line, Predictor, fitted
from searchitect.hardware.operations import Operation
from searchitect.hardware.predicting import Counted, Law, attach, operations
from searchitect.hardware.table import Entry
from searchitect.nets import Costs
from searchitect.records import objective
from searchitect.spaces import load_space

L = lazy(nn)
READY = {"nb201": (3, 32, 32), "darts": (3, 32, 32), "cnn": (1, 28, 28), "mobilenet": (3, 32, 32),
         "transformer": (3, 32, 32), "macro": (3, 32, 32), "mlp": (12,), "tcn": (4, 50)}  # fmt: skip


class Scaled(nn.Module):
    """A class of the user's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.LazyConv2d(width, 3, padding=1)

    def forward(self, x):
        return 2 * self.inner(x)


def small():
    return Space(L.Sequential(
        L.LazyConv2d(one_of(8, 16, name="width"), 3, padding=1), L.ReLU(),
        repeat(lambda: one_of(L.LazyConv2d(8, 3, padding=1), L.Identity(), lazy(Scaled)(width=8)), 1, 3),
        L.Flatten(), L.LazyLinear(OUTPUTS)))  # fmt: skip


@pytest.mark.parametrize("name", READY)
def test_the_macs_of_the_operations_add_up_to_those_of_the_network(name):
    """With macs for milliseconds the prediction is what the cost tables (held against torch's counter) say."""
    space = load_space(name)
    costs = Costs(space, READY[name], 10)
    sample = [space.sample(i) for i in range(6)]
    found = {one.name: one for architecture in sample for one in operations(costs, architecture)}
    predictor = Predictor(costs, LatencyTable(Entry(o.name, float(o.macs)) for o in found.values()))
    for architecture in [*sample, *sample]:  # also from memory
        assert predictor(architecture) == costs.of(architecture).macs
        assert predictor.counted(architecture).operations == len(operations(costs, architecture))
        assert predictor.unknown(architecture) == []


def test_a_name_says_what_time_depends_on_and_nothing_else():
    space = Space(L.Sequential(L.LazyConv2d(8, 3, padding=1), L.Conv2d(8, 8, 3, padding=1), L.ReLU(), L.Flatten()))
    names = [o.name for o in operations(Costs(space, (8, 6, 6)), space.sample(0))]
    convolutions = [n for n in names if n.startswith("nn.Conv2d")]
    assert len(convolutions) == 2
    assert len(set(convolutions)) == 1  # lazy or not, the same operation at the same shape
    assert convolutions[0].endswith("@ 8x6x6")
    wider = [o.name for o in operations(Costs(space, (8, 7, 6)), space.sample(0))]
    assert not set(names) & set(wider)
    assert "nn.Sequential(*=[. . . .]) @ 8x6x6" in names


def test_a_class_of_the_users_is_one_operation_with_what_it_holds():
    space = Space(L.Sequential(lazy(Scaled)(width=one_of(4, 8)), L.Flatten()))
    costs = Costs(space, (3, 6, 6))
    found = operations(costs, space.sample(0))
    own = next(o for o in found if "Scaled" in o.name)
    assert own.macs == costs.of(space.sample(0)).macs > 0
    assert len(found) == 3


def test_unknown_operations_are_told_from_those_of_their_kind():
    facts = [(1000, 500), (9000, 800), (40000, 100), (70000, 4000), (5, 9000)]
    entries = [Entry(f"nn.Conv2d({i})", 0.01 + 2e-6 * m + 3e-7 * n, m, n) for i, (m, n) in enumerate(facts)]
    table = LatencyTable([*entries, Entry("nn.ReLU(1)", 5.0, 0, 10)])
    told = table.ms(Operation("nn.Conv2d(new)", "nn.Conv2d", 30_000, 2_000))
    assert told == pytest.approx(0.01 + 2e-6 * 30_000 + 3e-7 * 2_000, rel=1e-6)
    assert table.ms(Operation("nn.Conv2d(1)", "nn.Conv2d", 1, 1)) == entries[1].ms  # what is known is not told
    assert table.ms(Operation("Other(1)", "Other", 100, 100)) > 0  # from all of them
    with pytest.raises(UsageError, match="no entry for Other"):
        LatencyTable([Entry("nn.ReLU(1)", 5.0)]).ms(Operation("Other(1)", "Other", 1, 1))


@pytest.mark.parametrize("name", ["table.json", "table.csv"])
def test_a_table_comes_back_from_its_file(tmp_path, name):
    table = LatencyTable([Entry("b(x=1, y='2') @ 3x4", 0.25, 7, 8), Entry("a", 1e-4)], "a phone")
    back = LatencyTable.read(table.write(tmp_path / name))
    assert back.entries == table.entries
    assert back.device == ("a phone" if name.endswith("json") else name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.json", "{", "cannot be read"),
        ("t.json", '{"format": 2, "operations": []}', "format 2"),
        ("t.json", '{"format": 1, "operations": [{"operation": "a"}]}', "no latency table"),
        ("t.json", '{"format": 1, "operations": [{"operation": "a", "ms": -1.0}]}', "0 or more"),
        ("t.json", "[1]", "no latency table"),
        ("t.csv", "op,time\na,1\n", "first line"),
        ("t.csv", "operation,ms\na,fast\n", "cannot be read"),
        ("t.csv", "operation,ms\na,nan\n", "0 or more"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words) as raised:
        LatencyTable.read(tmp_path / name)
    assert name in str(raised.value)
    with pytest.raises(DataError, match=r"missing\.json"):
        LatencyTable.read(tmp_path / "missing.json")


def test_the_line_is_found_and_its_error_is_that_of_networks_left_out():
    counted = [Counted(1.0 + i, 10.0 + 7 * (i % 4)) for i in range(12)]
    exact = fitted(counted, [0.5 + 1.1 * ms - 0.01 * n for ms, n in counted])
    assert exact.error < 0.01
    assert exact.networks == 12
    for ms, n in [(20.0, 15.0), (3.5, 31.0)]:
        assert exact.a + exact.b * ms + exact.c * n == pytest.approx(0.5 + 1.1 * ms - 0.01 * n, rel=0.03)
    values = [2.0 * ms for ms, _ in counted]
    values[5] *= 3
    wrong = fitted(counted, values)
    assert wrong.worst > 0.5  # the one that the others do not foresee
    few = fitted(counted[:3], [2.0, 4.0, 6.0])
    assert (few.a, few.b, few.c) == (0.0, 2.0, 0.0)
    assert fitted(counted[:1], [3.0]).b == 3.0


def test_a_limit_on_a_predicted_metric_is_kept_without_building(tmp_path):
    space = small()
    costs = Costs(space, (3, 6, 6), 4)
    found = {o.name: o for i in range(40) for o in operations(costs, space.sample(i))}
    law = Law(LatencyTable(Entry(o.name, o.macs / 1e5) for o in found.values()), Line(a=0.5))
    assert Law.of(json.loads(json.dumps(law.plain()))).line == law.line
    attach(costs, {"latency_ms": law})
    limit = objective("latency_ms < 1")
    for i in range(40):
        architecture = space.sample(i)
        ms = 0.5 + costs.of(architecture).macs / 1e5
        assert costs.numbers(architecture)["latency_ms"] == pytest.approx(ms)
        assert costs.feasible(architecture, [limit]) == (ms < 1)


def test_what_cannot_be_built_is_not_predicted():
    space = Space(L.Sequential(L.Linear(4, 5), one_of(L.Linear(5, 2), L.Linear(6, 2))))
    costs = Costs(space, (4,))
    predictor = Predictor(costs, LatencyTable(Entry(f"nn.Linear({i})", 1.0, i, i) for i in range(1, 5)))
    bad = next(a for a in space.enumerate() if not costs.feasible(a))
    with pytest.raises(BuildError, match="5 features"):
        predictor(bad)
