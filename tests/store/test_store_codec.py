"""Trials to bytes and back."""

import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchitect.errors import StorageError
from searchitect.records import Cause, Failure, Fidelity, Measurement, Proposal, State, Trial
from searchitect.space import Architecture
from searchitect.store.codec import decode_numbers, decode_trial, encode, encode_trial

floats = st.floats(width=64)
texts = st.text(max_size=20)
names = st.dictionaries(texts, floats, max_size=4)
scalars = st.one_of(
    texts, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
)
trials = st.builds(
    Trial,
    number=st.integers(0, 2**40),
    proposal=st.builds(
        Proposal,
        architecture=st.builds(Architecture, texts, st.dictionaries(texts, scalars, max_size=5)),
        fidelity=st.builds(
            Fidelity, st.sampled_from(["train", "table"]), st.integers(0, 99), floats, st.none() | st.integers(1, 512)
        ),
        draw=st.integers(-1, 2**40),
        parents=st.lists(st.integers(0, 99), max_size=2).map(tuple),
        origin=texts,
    ),
    state=st.sampled_from(State),
    measurement=st.none()
    | st.builds(
        Measurement,
        names,
        floats,
        curve=st.lists(names, max_size=3).map(tuple),
        notes=st.lists(texts, max_size=2).map(tuple),
    ),
    failure=st.none() | st.builds(Failure, st.sampled_from(Cause), texts, texts, st.booleans()),
    key=texts,
    seed=st.integers(0, 2**63 - 1),
    started=st.none() | floats,
    finished=st.none() | floats,
)


def bits(value):
    """The value with each float as its eight bytes (every NaN alike)."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(v) for v in value]
    return value


@given(trials)
def test_every_trial_comes_back_bit_by_bit(trial):
    body = encode_trial(trial)
    back = decode_trial(body)
    assert bits(msgspec.to_builtins(back)) == bits(msgspec.to_builtins(trial))
    assert encode_trial(back) == body
    msgspec.json.decode(body)  # plain JSON, readable by anything


@given(names)
def test_numbers_of_a_report_come_back(numbers):
    assert bits(decode_numbers(encode(numbers))) == bits(numbers)


def test_labels_that_look_like_numbers_stay_text():
    architecture = Architecture("s", {"a": "nan", "b": "inf", "c": "3", "d": "null", "e": "true"})
    trial = Trial(0, Proposal(architecture), key="nan", measurement=Measurement({"loss": math.nan}, notes=("inf",)))
    back = decode_trial(encode_trial(trial))
    assert back.architecture == architecture
    assert (back.key, back.measurement.notes) == ("nan", ("inf",))
    assert math.isnan(back.value("loss"))


def test_sums_that_overflow_are_still_finite_numbers():
    trial = Trial(0, Proposal(Architecture("s", {})), measurement=Measurement({"a": 1.7e308, "b": 1.7e308}))
    assert decode_trial(encode_trial(trial)) == trial


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_decision_that_is_not_finite_is_refused(value):
    with pytest.raises(StorageError, match="'rate'"):
        encode_trial(Trial(3, Proposal(Architecture("s", {"rate": value}))))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"number": 0}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"number": 0, "proposal": 1e999}',
        b'"nan"',
    ],
)
def test_anything_else_is_refused(body):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        decode_trial(body)


def test_what_json_cannot_hold_is_named():
    with pytest.raises(StorageError, match=r"cannot be written as JSON.*object"):
        encode({"x": object()})
