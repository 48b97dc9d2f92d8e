"""Fronts, crowding and hypervolume against their definitions, by brute force."""

import itertools
import math

import moocore
import numpy as np
import pytest

from searchitect.seeds import stream
from searchitect.strategies.pareto import best_first, better, crowding, hypervolume, ranks, standing


def dominated_by_definition(a, b):
    """a beats b (Deb 2002): feasible beats infeasible, less violation beats more, else Pareto domination."""
    if a[0] == 0 and b[0] > 0:
        return True
    if a[0] != b[0]:
        return a[0] < b[0]
    return all(x <= y for x, y in zip(a[1], b[1], strict=True)) and a[1] != b[1]


def ranks_by_peeling(points):
    """Take away all that nothing left beats, again and again."""
    left, found, rank = set(range(len(points))), [-1] * len(points), 0
    while left:
        front = {i for i in left if not any(dominated_by_definition(points[j], points[i]) for j in left)}
        for i in front:
            found[i] = rank
        left -= front
        rank += 1
    return found


def random_points(seed, n, goals, grid, violations):
    source = stream(seed, n, "points")

    def value():
        return math.inf if source.below(20) == 0 else float(source.below(grid))

    return [(float(source.below(violations)), tuple(value() for _ in range(goals))) for _ in range(n)]


@pytest.mark.parametrize("goals", [1, 2, 3, 4])
@pytest.mark.parametrize("violations", [1, 3])
def test_ranks_are_what_peeling_gives(goals, violations):
    for seed in range(60):
        points = random_points(seed, 1 + seed, goals, grid=6 if seed % 2 else 1000, violations=violations)
        assert ranks(points) == ranks_by_peeling(points)


def test_two_goals_agree_with_moocore():
    values = [p[1] for p in random_points(3, 500, 2, 40, 1)]
    assert ranks([(0.0, v) for v in values]) == list(moocore.pareto_rank(np.array(values)))


def test_better_is_the_definition():
    points = random_points(5, 60, 2, 4, 3)
    for a, b in itertools.product(points, points):
        assert better(a, b) == dominated_by_definition(a, b)


def test_a_feasible_point_beats_every_infeasible_one():
    poor, near, far = (0.0, (9.0, 9.0)), (0.1, (0.0, 0.0)), (5.0, (0.0, 0.0))
    assert ranks([far, near, poor]) == [2, 1, 0]
    assert best_first([far, near, poor]) == [2, 1, 0]


def test_crowding_of_a_front_worked_by_hand():
    # ranges 10 and 8; the inner ones: (4-0)/10 + (8-1)/8 and (10-2)/10 + (3-0)/8
    values = [(0.0, 8.0), (2.0, 3.0), (4.0, 1.0), (10.0, 0.0)]
    assert crowding(values) == pytest.approx([math.inf, 4 / 10 + 7 / 8, 8 / 10 + 3 / 8, math.inf])
    assert crowding(values[::-1]) == pytest.approx([math.inf, 8 / 10 + 3 / 8, 4 / 10 + 7 / 8, math.inf])


def test_a_repeated_point_adds_nothing_to_the_front():
    values = [(0.0, 8.0), (2.0, 3.0), (2.0, 3.0), (10.0, 0.0), (0.0, 8.0)]
    assert crowding(values) == [math.inf, 2.0, 0.0, math.inf, 0.0]
    assert crowding([(1.0, 1.0)]) == [math.inf]


def test_an_infinite_goal_stands_at_the_worst_finite_one():
    values = [(0.0, math.inf), (1.0, 4.0), (2.0, 3.0), (4.0, 1.0)]
    assert crowding(values) == crowding([(0.0, 4.0), *values[1:]])
    assert all(not math.isnan(d) for d in crowding([(math.inf, 1.0), (math.inf, 2.0)]))


def test_the_order_is_front_then_loneliness_then_age():
    points = [(0.0, v) for v in [(5.0, 5.0), (0.0, 8.0), (2.0, 3.0), (4.0, 1.0), (10.0, 0.0), (5.0, 5.0)]]
    assert best_first(points) == [1, 4, 2, 3, 0, 5]
    assert standing([]) == []


@pytest.mark.parametrize("goals", [1, 2, 3])
def test_the_hypervolume_is_the_number_of_unit_boxes(goals):
    """On an integer grid the dominated volume is counted box by box."""
    side = 7
    for seed in range(20):
        values = [p[1] for p in random_points(seed, 12, goals, side + 2, 1)]
        boxes = itertools.product(range(side), repeat=goals)
        covered = sum(any(all(x <= b for x, b in zip(v, box, strict=True)) for v in values) for box in boxes)
        assert hypervolume(values, [float(side)] * goals) == pytest.approx(covered)


def test_points_beyond_the_reference_count_nothing():
    assert hypervolume([(3.0, 0.0), (0.0, math.inf)], (2.0, 2.0)) == 0.0
    assert hypervolume([], (2.0, 2.0)) == 0.0
