"""Walking uphill among candidates, with a score that is known for all."""

import numpy as np
from test_candidates import apart, flat, setting_of

from searchitect.seeds import stream
from searchitect.strategies.surrogate import climbing
from searchitect.strategies.surrogate.candidates import Pool
from searchitect.strategies.surrogate.features import Features


def ranks(architecture):
    return sum("abc".index(v) for v in architecture.decisions.values())


class Scorer:
    """Scores a pool; notes from where on it was told of candidates."""

    def __init__(self, pool, value=ranks):
        self.pool, self.value, self.starts = pool, value, []

    def __call__(self, start):
        self.starts.append(start)
        return np.array([float(self.value(item.architecture)) for item in self.pool.items])


def pool_with(space, *centres, closed=()):
    features = Features(space)
    pool = Pool(features, {features.of(a).key for a in closed})
    pool.extend((centre, -1) for centre in centres)
    return pool


def lowest(space):
    return space.architecture(dict.fromkeys(space.by_name, "a"))


def test_each_step_takes_in_all_neighbours_of_the_best_and_climbs_by_the_best_of_them():
    space = flat(4, 3)
    pool = pool_with(space, lowest(space))
    scorer = Scorer(pool)
    score = climbing.climb(pool, setting_of(space), stream(0, 0, "near"), 0, 100, scorer)
    assert list(score) == [ranks(item.architecture) for item in pool.items]
    assert max(score) == 2 * climbing.STEPS  # each step sets one more decision to its best, "c"
    assert scorer.starts[:2] == [0, 1]  # the model is told of every candidate once
    assert scorer.starts == sorted(set(scorer.starts))
    assert len(scorer.starts) == climbing.STEPS + 1


def test_it_stops_at_a_local_optimum_and_when_enough_was_looked_at():
    space = flat(4, 3)
    best = space.architecture(dict.fromkeys(space.by_name, "c"))
    pool = pool_with(space, best)
    scorer = Scorer(pool)
    climbing.climb(pool, setting_of(space), stream(0, 0, "near"), 0, 100, scorer)
    assert scorer.starts == [0, 1]  # once around the best, then nothing new is near it
    assert len(pool.items) == 9
    few = pool_with(space, lowest(space))
    climbing.climb(few, setting_of(space), stream(0, 0, "near"), 0, 11, Scorer(few))
    assert len(few.items) == 12
    none = pool_with(space, lowest(space))
    climbing.climb(none, setting_of(space), stream(0, 0, "near"), 0, 0, Scorer(none))
    assert len(none.items) == 1


def test_neighbours_that_were_proposed_already_do_not_end_the_climb_too_soon():
    space = flat(4, 3)
    start = lowest(space)
    near = list(space.neighbours(start))
    pool = pool_with(space, start, closed=near[:-1])
    climbing.climb(pool, setting_of(space), stream(0, 0, "near"), 0, 8, Scorer(pool))
    assert [apart(item.architecture, start) for item in pool.items] == [0, 1]
    assert pool.items[1].architecture == near[-1]


def test_the_same_source_climbs_the_same_way():
    space = flat(6, 3)
    climbs = []
    for _ in range(2):
        pool = pool_with(space, space.sample(stream(3, 0, "sample")))
        climbing.climb(pool, setting_of(space), stream(0, 0, "near"), 0, 15, Scorer(pool))
        climbs.append([item.architecture for item in pool.items])
    assert climbs[0] == climbs[1]
    assert len(climbs[0]) == 16
