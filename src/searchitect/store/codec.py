"""Trials to JSON bytes and back, without loss.

JSON has no NaN and no infinities: they travel as the text "nan", "inf" and "-inf" in the fields that
are numbers by type, so that reading back is unambiguous. The usual trial holds none of them and goes
through msgspec alone; the others take a slower way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from searchitect.errors import StorageError
from searchitect.records import Measurement, Trial, jsonable

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Trial)
_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode_trial(trial: Trial) -> bytes:
    """The trial as JSON bytes. Raises StorageError when a decision of its architecture cannot be written."""
    for name, value in trial.proposal.architecture.decisions.items():
        if value.__class__ is float and not math.isfinite(value):
            raise StorageError(f"trial {trial.number}: decision {name!r} is {value}; decisions must be finite numbers")
    try:
        if _is_finite(trial):
            return _encoder.encode(trial)
        return _encoder.encode(jsonable(msgspec.to_builtins(trial)))
    except UnicodeEncodeError:  # user code may raise any text, lone surrogates too
        return _encoder.encode(jsonable(_printable(msgspec.to_builtins(trial))))
    except (OverflowError, TypeError, ValueError) as error:
        raise StorageError(f"trial {trial.number} cannot be written: {error}") from error


def decode_trial(body: bytes | str) -> Trial:
    """What `encode_trial` wrote. Raises msgspec.DecodeError for anything else; runs no code."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        return msgspec.convert(_with_numbers(msgspec.json.decode(body)), Trial)


def encode(value: Any) -> bytes:
    """Any plain value as JSON; numbers that are not finite become text."""
    try:
        return _encoder.encode(jsonable(value))
    except UnicodeEncodeError:
        return _encoder.encode(jsonable(_printable(value)))
    except (OverflowError, TypeError, ValueError) as error:
        raise StorageError(f"cannot be written as JSON: {error}") from error


def decode(body: bytes | str) -> Any:
    """Plain JSON."""
    return msgspec.json.decode(body)


def decode_numbers(body: bytes | str) -> dict[str, float]:
    """A mapping of names to numbers, "nan", "inf" and "-inf" turned back. Raises msgspec.DecodeError."""
    return msgspec.convert(_numbers(msgspec.json.decode(body)), dict[str, float])


def _is_finite(trial: Trial) -> bool:
    """Whether no number of the trial is NaN or infinite (a sum that overflows merely takes the slow way)."""
    total = trial.proposal.fidelity.data + (trial.started or 0.0) + (trial.finished or 0.0)
    measured = trial.measurement
    if measured is not None:
        total += measured.seconds + _total(measured)
    return math.isfinite(total)


def _total(measured: Measurement) -> float:
    total = sum(measured.metrics.values())
    for step in measured.curve:
        total += sum(step.values())
    return total


def _with_numbers(body: Any) -> Any:
    """Turn text back into numbers in exactly the fields that are numbers by type."""
    if not isinstance(body, dict):
        return body
    for name in ("started", "finished"):
        body[name] = _number(body.get(name))
    fidelity = body.get("proposal", {}).get("fidelity")
    if isinstance(fidelity, dict):
        fidelity["data"] = _number(fidelity.get("data", 1.0))
    measured = body.get("measurement")
    if isinstance(measured, dict):
        measured["metrics"] = _numbers(measured.get("metrics"))
        measured["seconds"] = _number(measured.get("seconds", 0.0))
        measured["curve"] = [_numbers(step) for step in measured.get("curve") or ()]
    return body


def _numbers(values: Any) -> Any:
    return {k: _number(v) for k, v in values.items()} if isinstance(values, dict) else values


def _number(value: Any) -> Any:
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _printable(value: Any) -> Any:
    """Text that UTF-8 cannot hold (lone surrogates) written with backslashes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_printable(str(k)): _printable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(v) for v in value]
    return value
