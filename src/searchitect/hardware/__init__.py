"""What a device takes for a network: the clock with its protocol, a table of operations, predictions made from it.

Others get from here: `measured` (milliseconds of networks on this device, each with its interval), `LatencyTable`
(milliseconds of operations, measured here or read from a file), `measured_table` (makes one for a space), `Predictor`
(a number for an architecture from its plan alone) and `EnergyMeter`. Who decides by these numbers is not known here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.hardware.clock import Timing as Timing
    from searchitect.hardware.clock import measured as measured
    from searchitect.hardware.energy import EnergyMeter as EnergyMeter
    from searchitect.hardware.measuring import measured_table as measured_table
    from searchitect.hardware.predicting import Law as Law
    from searchitect.hardware.predicting import Line as Line
    from searchitect.hardware.predicting import Predictor as Predictor
    from searchitect.hardware.predicting import attach as attach
    from searchitect.hardware.predicting import fitted as fitted
    from searchitect.hardware.table import LatencyTable as LatencyTable

_HOMES = {
    "EnergyMeter": "energy",
    "LatencyTable": "table",
    "Law": "predicting",
    "Line": "predicting",
    "Predictor": "predicting",
    "Timing": "clock",
    "attach": "predicting",
    "fitted": "predicting",
    "measured": "clock",
    "measured_table": "measuring",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
