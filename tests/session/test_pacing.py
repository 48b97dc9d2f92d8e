"""Final trainings on machines that become slower: an executor with a clock of its own plays them."""

import pytest

from searchitect.evaluators.base import Outcome, Task
from searchitect.executors import Failed, Finished
from searchitect.finalize.planning import FinalPlan
from searchitect.session.pacing import Pace, Paces
from searchitect.session.tasks import FIRST_TICKET, run_tasks


class Machine:
    """Workers whose epochs take `cost` seconds times `slower(now)`; keeps the limit of a task as our training does."""

    def __init__(self, slots=2, slower=lambda now: 1.0, cost=lambda task: 1.0, fails=()):
        self.slots, self.slower, self.cost, self.fails = slots, slower, cost, set(fails)
        self.now, self.queue, self.running, self.stopped = 0.0, [], {}, []
        self.rows = []  # (seed, part of the rows)
        self.run = []  # (seed, number, epochs asked for, epochs done)

    def clock(self):
        return self.now

    def submit(self, ticket, payload, *, time_limit=None, attempt=1):
        self.queue.append((ticket, payload))

    def _start(self):
        while self.queue and len(self.running) < self.slots:
            ticket, task = self.queue.pop(0)
            end, done, limit = self.now, 0, self.now + (task["seconds"] or 1e9)
            for _ in range(task["epochs"]):
                took = self.cost(task) * self.slower(end) * task["data"]
                if done and end + took > limit:
                    break
                end, done = end + took, done + 1
            self.running[ticket] = end, task, done

    def wait(self, timeout):
        self._start()
        if not self.running:
            return []
        ticket = min(self.running, key=lambda t: self.running[t][0])
        self.now, task, done = self.running.pop(ticket)
        self.run.append((task["seed"], task["number"], task["epochs"], done))
        self.rows.append((task["seed"], task["data"]))
        if task["number"] in self.fails:
            return [Failed(ticket, "user code", "it broke")]
        stopped = done < task["epochs"]
        return [Finished(ticket, {"metrics": {}, "seconds": 1.0, "epochs": done, "stopped": stopped})]

    def stop(self, ticket):
        self.stopped.append(ticket)

    def kill(self, ticket):
        pass


def batch(networks=4, rounds=3, epochs=10):
    return [Task(n, {}, seed, epochs) for seed in range(rounds) for n in range(networks)]


def played(machine, tasks, end, **options):
    pace = Pace(tasks, end, machine.slots, machine.clock, **options)
    found = run_tasks(machine, tasks, pace=pace)
    assert len(found) == len(tasks)
    return pace


def test_at_the_planned_speed_nothing_is_shortened():
    machine = Machine()
    pace = played(machine, batch(), end=60.0, expected=1.0)
    assert machine.now == 60.0
    assert {epochs for *_, epochs, _ in machine.run} == {10}
    assert (pace.shortened, pace.cut) == ([], 0)


@pytest.mark.parametrize("factor", [1.3, 2.0, 4.0])
def test_a_machine_that_is_slower_from_the_start_ends_in_time(factor):
    """Sixty seconds of work; the first round shows the speed, the later ones make up for it."""
    machine = Machine(slower=lambda now: factor)
    pace = played(machine, batch(), end=60.0, slack=5.0, expected=1.0)
    assert machine.now <= 65.0 + (20 * factor - 20 if factor > 3 else 0)  # the first two have begun before all is known
    assert pace.shortened
    for seed in range(3):
        asked = {epochs for s, _, epochs, _ in machine.run if s == seed}
        assert len(asked) == 1, "all networks of a round are trained alike"


@pytest.mark.parametrize("when", [25.0, 35.0, 65.0, 75.0])
def test_one_moment_in_which_the_machine_is_held_up_shortens_nothing(when):
    """Two trainings take two to three times as long, in the second round of stage A or in stage B; then all is as it
    was, and there is time enough."""
    machine = Machine(slower=lambda now: 20.0 if when <= now < when + 1.0 else 1.0)
    paces = all_played(machine, 120.0)
    assert machine.now == 90.0 + 19.0
    assert ({epochs for *_, epochs, _ in machine.run}, paces.notes) == ({10}, [])


def test_what_most_of_the_latest_trainings_show_is_believed():
    """The second round is three times as slow: the third is shorter before it has begun."""
    machine = Machine(slower=lambda now: 1.0 if now < 20.0 else 3.0)
    played(machine, batch(), end=110.0, expected=1.0)
    assert {epochs for seed, _, epochs, _ in machine.run if seed == 2} == {5}
    assert machine.now == 110.0


@pytest.mark.parametrize("when", [5.0, 20.0, 35.0])
def test_a_machine_that_becomes_slower_on_the_way_ends_in_time(when):
    machine = Machine(slower=lambda now: 1.0 if now < when else 2.5)
    played(machine, batch(), end=60.0, slack=5.0, expected=1.0)
    assert machine.now <= 70.0  # slack, and one epoch of a last round
    without = Machine(slower=lambda now: 1.0 if now < when else 2.5)
    run_tasks(without, batch())
    assert without.now > 85.0, "what happened without it"


def test_what_becomes_slow_at_the_very_end_is_cut_off():
    machine = Machine(slower=lambda now: 1.0 if now < 45.0 else 10.0)
    pace = played(machine, batch(), end=60.0, slack=5.0, expected=1.0)
    assert machine.now <= 75.0
    assert pace.cut
    assert all(done >= 1 for *_, done in machine.run), "every network is trained, be it for an epoch"


def test_dear_networks_are_not_taken_for_cheap_ones():
    """Network 3 costs five times the others; once that is known, its rounds to come are planned so."""
    machine = Machine(slots=1, cost=lambda task: 5.0 if task["number"] == 3 else 1.0)
    pace = played(machine, batch(), end=160.0, slack=8.0, expected=1.0)
    assert 140.0 <= machine.now <= 168.0
    assert machine.run[0][2] == 10
    assert pace.shortened
    assert all(epochs < 10 for epochs in pace.shortened)


def test_failures_teach_nothing_and_stop_nothing():
    machine = Machine(fails=[0, 1, 2, 3])
    pace = played(machine, batch(rounds=2), end=10.0, expected=1.0)
    assert len(machine.run) == 8
    assert set(pace.shortened) == {2, 3} or set(pace.shortened) == {2, 1}, "by what was expected"


def test_one_epoch_over_some_rows_is_always_left():
    machine = Machine(slower=lambda now: 100.0)
    played(machine, batch(rounds=2), end=1.0, slack=1.0, expected=1.0)
    assert all(epochs >= 1 and done >= 1 for *_, epochs, done in machine.run)


def test_where_an_epoch_is_too_long_all_of_a_round_get_the_same_part_of_the_rows():
    machine = Machine(cost=lambda task: 10.0)
    pace = played(machine, batch(networks=2, epochs=1), end=18.0, slack=1.0, expected=10.0)
    assert machine.now <= 19.0
    parts = {seed: {data for s, data in machine.rows if s == seed} for seed in range(3)}
    assert parts == {0: {0.6}, 1: {0.6}, 2: {0.6}}
    assert pace.shortened == [0.6, 0.6, 0.6]
    assert pace.took[("architecture", 0)] == pytest.approx(10.0), "of an epoch on all rows"


def test_tasks_wait_for_a_worker_and_those_that_wait_are_not_begun_after_an_interruption():
    machine, tasks = Machine(), batch(networks=2, rounds=3)
    pace = Pace(tasks, 1e9, machine.slots, machine.clock)
    found = run_tasks(machine, tasks, pace=pace, interrupt=lambda: len(machine.run) >= 1, grace=0.0)
    assert [type(f) for f in found[:2]] == [Outcome, Outcome]
    killed = [f for f in found if isinstance(f, Failed)]
    assert len(killed) == len(tasks) - len(machine.run) > 2
    assert all((f.cause, f.message) == ("killed", "it had not begun") for f in killed)
    assert FIRST_TICKET + 1 in machine.stopped


# -- all batches -----------------------------------------------------------------------------------------


def finals(**changes):
    """Stage A: four networks, three seeds, ten epochs, 60 s on two workers; stage B: two networks, 30 s."""
    given = {
        "finalists": (), "stage_a_seeds": (0, 1, 2), "stage_b_seeds": (10, 11, 12), "epochs": 10,
        "forecast_seconds": 90.0, "alone_seeds": (10, 11, 12), "stage_seconds": (60.0, 30.0),
    }  # fmt: skip
    return FinalPlan(**given | changes)


def last(networks=2, rounds=(10, 11, 12), epochs=10):
    return [Task(n, {}, seed, epochs, rows="all") for seed in rounds for n in range(networks)]


def all_played(machine, end, plan=None, **options):
    paces = Paces(plan or finals(), lambda: end - machine.now, machine.slots, machine.clock, **options)
    for tasks in (batch(), last()):
        pace = paces.of(tasks)
        run_tasks(machine, tasks, pace=pace)
        paces.told(pace)
    return paces


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.5])
def test_both_stages_end_in_time_and_say_what_it_cost(factor):
    machine = Machine(slower=lambda now: factor)
    paces = all_played(machine, 90.0, slack=4.0)
    assert 80.0 < machine.now <= 97.0
    assert bool(paces.notes) == (factor > 1)
    if factor > 1:
        assert paces.notes[0].startswith("short of time: stage A turned out slower than planned; ")
        assert "rounds took" in paces.notes[0]
        assert "instead of 10 epochs" in paces.notes[0]
    shares = {seed: {e for s, _, e, _ in machine.run if s == seed} for seed in (0, 1, 2, 10, 11, 12)}
    assert all(len(epochs) == 1 for epochs in shares.values())


def test_the_last_stage_begins_with_what_the_first_has_learned():
    """The machine is slow while stage A runs; stage B is shorter from its first round on."""
    machine = Machine(slower=lambda now: 2.0)
    all_played(machine, 90.0)
    first = next(epochs for seed, _, epochs, _ in machine.run if seed == 10)
    assert first < 10


def test_more_seeds_than_planned_are_no_slower_machine():
    plan = finals(stage_a_seeds=(), alone_seeds=(10, 11, 12, 13, 14, 15))
    machine = Machine()
    paces = Paces(plan, lambda: 60.0 - machine.now, 2, machine.clock)
    tasks = last(rounds=(10, 11, 12, 13, 14, 15))
    pace = paces.of(tasks)
    assert pace.expected == pytest.approx(1.0)
    run_tasks(machine, tasks, pace=pace)
    paces.told(pace)
    assert (paces.notes, machine.now) == ([], 60.0)


def test_rows_that_are_added_are_counted():
    machine = Machine(cost=lambda task: 1.3 if task["rows"] == "all" else 1.0)
    assert all_played(machine, 100.0, finals(stage_seconds=(60.0, 39.0)), more_rows=1.3).notes == []
    machine = Machine(cost=lambda task: 1.3 if task["rows"] == "all" else 1.0)
    assert len(all_played(machine, 85.0, finals(stage_seconds=(60.0, 39.0)), more_rows=1.3).notes) >= 1


def test_what_has_a_limit_of_its_own_gets_no_pace():
    machine = Machine()
    paces = Paces(finals(), lambda: 90.0, 2, machine.clock)
    assert paces.of(batch()) is not None
    assert paces.of(batch()) is None, "tuning, or a repetition"
    assert paces.of(last()).end == 90.0
    assert paces.of(last(rounds=(77,))).end == 90.0, "a repetition with another seed"
    alone = Paces(finals(stage_a_seeds=()), lambda: 90.0, 2, machine.clock)
    assert alone.of(batch()) is None


def test_time_for_tuning_and_for_a_teacher_is_left_alone():
    machine = Machine()
    plan = finals(teacher_seconds=10.0)
    paces = Paces(plan, lambda: 200.0, 2, machine.clock, tuning=100.0)
    planned = [(p.end, p.after) for p in (paces.of(batch()), paces.of(last(rounds=(5,))), paces.of(last()))]
    assert planned == [(100.0, 40.0), (200.0, 30.0), (200.0, 0.0)], "stage A, the teacher, stage B"


def test_what_stage_a_lacks_is_taken_from_both_stages_alike():
    """Stage A alone would have to make do with a tenth of its last rounds; together they get about half of all."""
    machine = Machine(slower=lambda now: 2.0)
    all_played(machine, 90.0)
    shares = {seed: epochs for seed, _, epochs, _ in machine.run}
    assert 3 <= shares[1] <= 5
    assert abs(shares[2] - shares[10]) <= 1
