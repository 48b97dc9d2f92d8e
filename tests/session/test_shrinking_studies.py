"""Shrinking in a study: written down, replayed, shown, taken back."""

from functools import cache

import numpy as np
import pytest

from searchitect import resume, search
from searchitect.bench.table import Column, Rows, Table
from searchitect.cli.app import app
from searchitect.engine.observer import Observer
from searchitect.errors import UsageError
from searchitect.report.shrunk import cuts, shrunk_words
from searchitect.seeds import derive
from searchitect.session.shrinking import heard
from searchitect.settings import from_mapping
from searchitect.space import Layer, Space, one_of
from searchitect.store import Note, Store

SPACE = Space(Layer("toy.Net", {f"n{i}": one_of("a", "b", "c", "d", name=f"n{i}") for i in range(6)}))
TRIALS = 140


@cache
def table() -> Table:
    every = list(SPACE.enumerate())
    worth = [derive(5, i) % 1000 / 1000 - 1.0 * (a.decisions["n0"] == "b") for i, a in enumerate(every)]
    order = [(d.name, d.labels) for d in SPACE.decisions]
    return Table(
        "toy", SPACE, {"score": Column("score", "max", np.array(worth))}, Rows(order, None, 0), "score", "score"
    )


class Heard(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text):
        self.lines.append(text)


def run(path, trials=TRIALS, **more):
    options = {"strategy": "random", "shrink": True, "executor": "serial", "seed": 3}
    return search(evaluate=table(), path=path, trials=trials, **options | more)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    watcher = Heard()
    found = run(tmp_path_factory.mktemp("shrunk") / "s", observer=watcher)
    return found, watcher.lines


def test_a_cut_is_noted_shown_and_kept(study):
    found, lines = study
    (cut,) = found.summary()["shrunk"]
    assert (cut["decision"], cut["option"], cut["kind"]) == ("n0", "b", "cut")
    assert cut["odds"] < 0.5
    assert cut["upper"] < 1
    assert [text for text in lines if text.startswith("no longer proposed: n0 = b (in the best quarter")]
    later = [t for t in found.trials if t.proposal.events >= cut["event"]]
    assert len(later) > 15
    assert not any(t.architecture.decisions["n0"] == "b" for t in later)
    page = (found.path / "report.html").read_text()
    assert "Options no longer proposed" in page
    assert "n0 = b (in the best quarter" in page


def test_a_study_goes_on_as_if_it_had_not_ended(tmp_path, study):
    """Ended just after the cut, and just before it."""
    event = study[0].summary()["shrunk"][0]["event"]
    run(tmp_path / "s", event // 2 - 3)
    resume(tmp_path / "s", evaluate=table(), trials=event // 2 + 5)
    again = resume(tmp_path / "s", evaluate=table(), trials=TRIALS)
    assert [t.architecture for t in again.trials] == [t.architecture for t in study[0].trials]
    assert again.summary()["shrunk"] == study[0].summary()["shrunk"]
    with Store.open(again.path) as store:
        assert len(store.notes("shrink")) == 1
        assert heard(store) == 2 * len(again.trials)


def test_what_is_taken_back_is_proposed_again_and_stays(tmp_path, capsys):
    path = tmp_path / "s"
    run(path, control="random", trials=2 * TRIALS)
    with pytest.raises(UsageError, match="n0 = a is not cut; cut now: n0 = b"):
        run_restore(path, "n0", "a")
    assert run_restore(path, "n0", "b") == ["n0 = b"]
    again = resume(path, evaluate=table(), trials=2 * TRIALS + 40)
    assert again.summary()["shrunk"] == []
    late = [t for t in again.trials[2 * TRIALS :] if t.proposal.origin != "control"]
    assert any(t.architecture.decisions["n0"] == "b" for t in late)
    more = resume(path, evaluate=table(), trials=2 * TRIALS + 45)  # the replay with a cut and its return
    assert sum(t.source is None for t in more.trials) == 2 * TRIALS + 45
    assert run_restore(path) == []
    assert "1 cut taken back" in (path / "report.html").read_text()
    with pytest.raises(SystemExit) as ended:
        app.main(["resume", str(path), "--restore", "n0"])
    assert ended.value.code == 2
    assert "write DECISION=OPTION" in capsys.readouterr().err


def run_restore(path, *place):
    from searchitect.study import Study

    return Study(path).restore(*place)


def test_what_cannot_shrink_is_refused(tmp_path):
    with pytest.raises(UsageError, match="darts trains all options together"):
        search(data="digits", strategy="darts", shrink=True, trials=3, path=tmp_path / "a")
    run(tmp_path / "s", 3, shrink=False)
    with pytest.raises(UsageError, match="was not searched with shrink"):
        run_restore(tmp_path / "s")
    with pytest.raises(UsageError, match="shrink"):
        from_mapping({"shrink": "often"})


def test_words_follow_the_notes_in_their_order():
    def note(sort, decision, option, **more):
        return Note(sort, 0.0, {"decision": decision, "option": option, **more})

    told = {"kind": "cut", "trials": 40, "best": 1, "odds": 0.08, "upper": 0.7}
    first, second = note("shrink", "x", "a", **told), note("shrink", "y", "b", **told)
    assert [c["decision"] for c in cuts([first, second])] == ["x", "y"]
    assert cuts([first, second, note("restore", None, None)]) == []
    assert [c["decision"] for c in cuts([first, second, note("restore", "x", "a")])] == ["y"]
    words = shrunk_words([first, second, note("shrink", "y", "b", kind="back")])
    assert words == (
        "x = a (in the best quarter 1 of 40 times: odds 0.08 against the other options, below 0.7); 1 cut taken back"
    )
    assert shrunk_words([]) == ""
