"""Cells with operations at their vertices: published facts, and counts by brute force."""

import itertools

import numpy as np
import pytest

from searchitect.seeds import stream
from searchitect.space.vertices import VERTEX_OPERATIONS, arranged, channels, published_cell, representative
from searchitect.spaces import load_space

PAIRS = {n: [(i, j) for j in range(1, n) for i in range(j)] for n in range(2, 8)}


def cut(matrix: np.ndarray) -> list[int]:
    """The vertices on a path from first to last, by powers of the matrix."""
    n = len(matrix)
    reach = sum(np.linalg.matrix_power(matrix, p) for p in range(n)) > 0
    return [v for v in range(n) if reach[0, v] and reach[v, -1]] if reach[0, -1] else []


def matrix_of(edges, n: int) -> np.ndarray:
    matrix = np.zeros((n, n), int)
    for (i, j), there in zip(PAIRS[n], edges, strict=True):
        matrix[i, j] = there
    return matrix


def kind(edges, operations):
    """What isomorphic cells have in common: the least of all renamings of the inner vertices, in any order."""
    matrix = matrix_of(edges, len(operations) + 2)
    kept = cut(matrix)
    matrix, names = matrix[np.ix_(kept, kept)], [operations[v - 1] for v in kept[1:-1]]
    looks = []
    for renamed in itertools.permutations(range(1, len(kept) - 1)):
        order = [0, *renamed, len(kept) - 1] if kept else []
        looks.append((tuple(names[v - 1] for v in renamed), matrix[np.ix_(order, order)].tobytes()))
    return min(looks)


def test_cells_are_the_same_just_when_they_are_isomorphic():
    """All cells of up to five vertices with two operations."""
    for n in (2, 3, 4, 5):
        kinds: dict[object, set[object]] = {}
        for edges in itertools.product((False, True), repeat=len(PAIRS[n])):
            for operations in itertools.product(VERTEX_OPERATIONS[:2], repeat=n - 2):
                kinds.setdefault(representative(edges, operations), set()).add(kind(edges, operations))
        assert all(len(alike) == 1 for alike in kinds.values())
        assert len(set().union(*kinds.values())) == len(kinds)


def counted(n: int, labels: int = 3, most: int = 9) -> int:
    """Different cells of n vertices, none of them spare, by Burnside's lemma over the orders of each matrix."""
    bits = np.arange(2 ** len(PAIRS[n]))
    few = bits[np.bitwise_count(bits.astype(np.uint64)) <= most]
    matrices = np.zeros((len(few), n, n), bool)
    for place, (i, j) in enumerate(PAIRS[n]):
        matrices[:, i, j] = few >> place & 1
    matrices = matrices[matrices[:, :-1].any(2).all(1) & matrices[:, :, 1:].any(1).all(1)]
    orders, fixed = np.zeros(len(matrices)), np.zeros(len(matrices))
    below = np.tril(np.ones((n, n), bool))
    for renamed in itertools.permutations(range(1, n - 1)):
        order = [0, *renamed, n - 1]
        turned = matrices[:, order][:, :, order]
        orders += ~(turned & below).any((1, 2))
        fixed += (turned == matrices).all((1, 2)) * float(labels ** cycles(renamed))
    return round((fixed / orders).sum())


def cycles(renamed: tuple[int, ...]) -> int:
    left, found = set(renamed), 0
    while left:
        found, v = found + 1, left.pop()
        while (v := renamed[v - 1]) in left:
            left.remove(v)
    return found


def test_counts_are_the_published_ones():
    """Ying et al. 2019, section 2.3: 423,624 cells. Up to five vertices the arranged cells themselves are counted."""
    counts = {n: counted(n) for n in range(2, 8)}
    assert sum(counts.values()) == 423_624
    found = set()
    for edges in itertools.product((False, True), repeat=10):
        if cut(matrix_of(edges, 5)):
            for operations in itertools.product(VERTEX_OPERATIONS, repeat=3):
                found.add(representative(edges, operations))
    found = {one for one in found if sum(len(sources) for _, sources in one) <= 9}
    assert len(found) == sum(counts[n] for n in (2, 3, 4, 5))


def flat(rows: list[list[int]]) -> list[int]:
    return [rows[i][j] for i, j in PAIRS[len(rows)]]


# Matrices and labels as the benchmark stores them: its first entry, and what it answers for its Inception-like cell.
STORED = [
    ([[0, 1, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0],
      [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0] * 7],
     ["conv_3x3", "max_pool_3x3", "conv_3x3", "conv_3x3", "conv_1x1"]),
    ([[0, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1],
      [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0] * 7],
     ["conv_3x3", "conv_1x1", "max_pool_3x3", "conv_3x3", "conv_3x3"]),
]  # fmt: skip
ASKED = ([[0, 1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0],
          [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1], [0] * 7],
         ["conv_1x1", "conv_3x3", "conv_3x3", "conv_3x3", "max_pool_3x3"])  # fmt: skip


def test_the_order_is_the_stored_one():
    for rows, operations in STORED:
        seen = [tuple(i for i in range(j) if rows[i][j]) for j in range(1, 7)]
        assert representative(tuple(map(bool, flat(rows))), tuple(operations)) == tuple(
            zip([*operations, "output"], seen, strict=True)
        )
    assert arranged(128, flat(ASKED[0]), ASKED[1]) == arranged(128, flat(STORED[1][0]), STORED[1][1])


@pytest.mark.parametrize(
    ("width", "sources", "wanted"),
    [(16, [[0], [1], [2]], [16, 16, 16]), (5, [[0]], [5]), (8, [[0], [0], [1, 2], [3]], [8, 8, 8, 8]),
     (8, [[0], [0], [1, 2]], [4, 4, 8]), (15, [[0], [0], [1, 2]], [8, 7, 15]),
     (8, [[0], [0], [0], [1, 2, 3]], [3, 3, 2, 8]), (15, [[0], [0], [0], [1, 2, 3]], [5, 5, 5, 15]),
     (9, [[0], [1], [1], [2, 3]], [5, 5, 4, 9]), (15, [[0], [1], [0, 2], [1, 3]], [8, 7, 7, 15]), (3, [], [])],
)  # fmt: skip
def test_channels_are_the_published_ones(width, sources, wanted):
    """The cases that the benchmark's own tests state (model_builder_test.py)."""
    assert channels(width, sources) == wanted


def test_other_names_of_the_vertices_change_nothing():
    for number in range(60):
        draws = stream(number, 0, "renamed")
        edges = [draws.below(2) for _ in range(21)]
        operations = [VERTEX_OPERATIONS[draws.below(3)] for _ in range(5)]
        matrix = matrix_of(edges, 7)
        orders = [[0, *inner, 6] for inner in itertools.permutations(range(1, 6))]
        fits = [order for order in orders if not np.tril(matrix[np.ix_(order, order)]).any()]
        order = fits[draws.below(len(fits))]
        again = [int(matrix[order[i], order[j]]) for i, j in PAIRS[7]]
        assert arranged(30, again, [operations[v - 1] for v in order[1:-1]]) == arranged(30, edges, operations)


def test_members_are_connected_and_have_at_most_nine_edges():
    space = load_space("nb101", cells=1)
    answers = []
    for i in range(300):
        architecture = space.sample(i)
        matrix = matrix_of([architecture.decisions[f"{i}-{j}"] for i, j in PAIRS[7]], 7)
        kept = cut(matrix)
        answers.append(published_cell(architecture))
        assert answers[-1] == (len(kept) > 0 and matrix[np.ix_(kept, kept)].sum() <= 9)
    assert 150 < sum(answers) < 290
    assert not published_cell(space.architecture(space.baseline | {"0-1": 0, "0-6": 0}))


def test_what_does_not_belong_together_is_said():
    with pytest.raises(ValueError, match="3 edges, operations conv_3x3, conv_1x1: a cell of 2 operations has 6 pairs"):
        arranged(8, [1, 1, 1], ["conv_3x3", "conv_1x1"])
    with pytest.raises(ValueError, match="operations are conv_3x3, conv_1x1, max_pool_3x3"):
        arranged(8, [1, 1, 1], ["conv_5x5"])
    assert arranged(8, [0, 0, 0], ["conv_3x3"]) == ()
