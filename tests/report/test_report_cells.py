"""The table of a cell says what the architecture says, for all cell spaces; its drawing is well-formed."""

import xml.etree.ElementTree as ET

import pytest
import report_fakes as fakes

from searchitect.report import page
from searchitect.report.cells import Arrow, Graph, _apex, content, drawing, graphs
from searchitect.spaces import load_space, nb101, nb201

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "skip_connect")


def test_a_cell_of_nb201_is_its_six_edges_without_zeros():
    space = load_space("nb201", cells=2, width=4)
    (graph,) = graphs(space.to_json(), dict(zip(nb201.EDGES, OPERATIONS, strict=True)))
    assert graph.name == "cell"
    assert graph.nodes == ("in", "1", "2", "out")
    found = {f"{a.start}-{a.end}": (a.operation, a.passes) for a in graph.arrows}
    assert found == {
        "0-2": ("skip_connect", True), "1-2": ("nor_conv_1x1", False), "0-3": ("nor_conv_3x3", False),
        "1-3": ("avg_pool_3x3", False), "2-3": ("skip_connect", True),
    }  # fmt: skip


def test_darts_has_a_normal_and_a_reduction_cell_of_eight_edges():
    space = load_space("darts", cells=4, width=4)
    for number in range(5):
        decisions = space.sample(number).decisions
        normal, reduction = graphs(space.to_json(), decisions)
        assert (normal.name, reduction.name) == ("normal", "reduce")
        for graph in (normal, reduction):
            assert len(graph.nodes) == 6
            assert [sum(a.end == n for a in graph.arrows) for n in range(6)] == [0, 0, 2, 2, 2, 2]
            for arrow in graph.arrows:
                name = f"{graph.name}.{arrow.end}"
                assert f"from{arrow.start}" in str(decisions.get(name, "from0+from1"))
                assert arrow.operation == decisions[f"{name}.from{arrow.start}"]
                assert arrow.passes == (arrow.operation == "skip_connect")


def test_layers_of_macro_with_their_skips():
    space = load_space("macro", layers=4, width=4, halvings=1)
    (graph,) = graphs(space.to_json(), space.architecture(space.baseline).decisions)
    found = sorted((a.start, a.end, a.operation) for a in graph.arrows)
    assert found == [
        (0, 1, "conv_3x3"), (0, 2, "skip"), (1, 2, "conv_3x3"), (2, 3, "conv_3x3"), (2, 4, "skip"), (3, 4, "conv_3x3"),
    ]  # fmt: skip


def test_vertices_of_nb101_hold_the_operations():
    space = load_space("nb101")
    (graph,) = graphs(space.to_json(), nb101.decisions(*nb101.INCEPTION))
    assert graph.nodes == ("in", "1", "2", "3", "4", "5", "out")
    assert graph.beside == ("", "conv_3x3", "conv_1x1", "max_pool_3x3", "conv_3x3", "conv_3x3", "")
    assert [(a.start, a.end) for a in graph.arrows] == [
        (0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (1, 6), (2, 6), (3, 6), (5, 6)
    ]  # fmt: skip
    root = ET.fromstring(str(drawing(graph)))
    words = [(e.text, float(e.get("x"))) for e in root.iter() if e.get("text-anchor") == "end" and e.text]
    assert [word for word, _ in words] == [word for word in graph.beside if word]
    assert all(x - 6.6 * len(word) >= 0 for word, x in words)  # nothing is cut off at the left
    assert "1 is conv_3x3" in root.get("aria-label")
    cut = nb101.decisions("0-1", "conv_3x3")
    assert graphs(space.to_json(), cut) == []
    assert graphs(space.to_json(), {}) == []


@pytest.mark.parametrize("name", ["nb201", "darts", "macro"])
def test_the_drawing_names_every_operation(name):
    space = load_space(name)
    decisions = space.sample(4).decisions
    for graph in graphs(space.to_json(), decisions):
        root = ET.fromstring(str(drawing(graph)))
        drawn = {e.text for e in root.iter() if e.tag.endswith("text") and "halo" in e.get("class", "")}
        assert drawn == {a.operation for a in graph.arrows if not a.passes}
        assert sum(e.tag.endswith("path") for e in root.iter()) == len(graph.arrows)
        assert sum(e.tag.endswith("circle") for e in root.iter()) == len(graph.nodes)
        width = float(root.get("viewBox").split()[2])
        assert max(float(e.get("x")) for e in root.iter() if e.tag.endswith("text")) < width


def test_words_on_arcs_with_one_middle_do_not_meet():
    """Arcs over one middle differ by two in span; sixteen letters take less than 88 units."""
    for span in range(1, 12):
        assert _apex(span + 2) - _apex(span) >= 88


@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", 7, {"a": 1}, load_space("mlp").to_json()])
def test_without_cells_nothing_is_drawn(text):
    assert content(text, {}) == []


def test_what_was_not_decided_is_not_drawn():
    text = load_space("nb201", cells=1).to_json()
    assert graphs(text, {}) == []
    (graph,) = graphs(text, {"0-1": "nor_conv_3x3", "1-2": "<script>", "0-3": 5})
    assert graph.arrows == (Arrow(0, 1, "nor_conv_3x3"),)


def test_names_are_escaped():
    graph = Graph("a<b>", ("in", "<i>"), (Arrow(0, 1, "<script>x</script>"),))
    assert "<script>" not in str(drawing(graph))


@pytest.mark.parametrize(("name", "said"), [("darts", True), ("nb201", False)])
def test_the_page_explains_the_cells_before(name, said):
    space = load_space(name)
    meta = fakes.finished_meta(space={"json": space.to_json()}, winner={"architecture": space.sample(0).decisions})
    text = page.render(fakes.snapshot(meta))
    assert ("Nodes −2 and −1 are the two cells before" in text) is said
    assert "zeros are not drawn." in text
