"""Proposals that need linear algebra are made on one thread, and what was set before is set afterwards."""

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from searchitect.records import Measurement, State, Trial, objectives
from searchitect.strategies import Setting, make_strategy
from searchitect.testing.strategy import toy_space, toy_value


def threads():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("name", "first"), [("gaussian-process", "initial"), ("bananas", "startup"), ("nas-bowl", "startup")]
)
def test_a_proposal_is_made_on_one_thread(name, first):
    seen = []
    setting = Setting(toy_space(), objectives("max score"), 0, feasible=lambda _: seen.append(threads()) or True)
    strategy = make_strategy(name, setting, {first: 4})
    with threadpool_limits(2, user_api="blas"):
        for number in range(8):
            (proposal,) = strategy.ask(1)
            value = toy_value(proposal.architecture)
            strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement({"score": value})))
        assert threads() == {2}
    assert len(seen) > 8
    assert all(found == {1} for found in seen)
