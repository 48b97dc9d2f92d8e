"""What is built: blocks that plain `torch.nn` lacks, building an architecture, and its cost before building.

Others get from here: the block classes (each imports only torch, so that its source can be copied into an
exported file), `build` (architecture → `nn.Module`), `build_plan`, `Costs` (parameters, MACs and memory from
the plan alone), `supernet` (all architectures in one module), `Ensemble` (several trained networks as one),
`recalibrate` and `reestimate` (BatchNorm statistics for inherited weights). Names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchitect.nets.blocks import Branches as Branches
    from searchitect.nets.blocks import DropPath as DropPath
    from searchitect.nets.blocks import Mean as Mean
    from searchitect.nets.blocks import Residual as Residual
    from searchitect.nets.blocks import SqueezeExcite as SqueezeExcite
    from searchitect.nets.blocks import Zero as Zero
    from searchitect.nets.building import build as build
    from searchitect.nets.building import build_plan as build_plan
    from searchitect.nets.cells import Cell as Cell
    from searchitect.nets.cells import Edge as Edge
    from searchitect.nets.cells import Members as Members
    from searchitect.nets.cells import TwoInputCell as TwoInputCell
    from searchitect.nets.cells import TwoInputChain as TwoInputChain
    from searchitect.nets.cost import Cost as Cost
    from searchitect.nets.cost import Costs as Costs
    from searchitect.nets.ensembles import Ensemble as Ensemble
    from searchitect.nets.inherit import recalibrate as recalibrate
    from searchitect.nets.inherit import reestimate as reestimate
    from searchitect.nets.operations import Depthwise as Depthwise
    from searchitect.nets.operations import SameConv as SameConv
    from searchitect.nets.operations import Skip as Skip
    from searchitect.nets.recurrent import RecurrentCell as RecurrentCell
    from searchitect.nets.sequence import ColumnTokens as ColumnTokens
    from searchitect.nets.sequence import ConvMixing as ConvMixing
    from searchitect.nets.sequence import Position as Position
    from searchitect.nets.sequence import SelfAttention as SelfAttention
    from searchitect.nets.sequence import Tokens as Tokens
    from searchitect.nets.supernets import Supernet as Supernet
    from searchitect.nets.supernets import supernet as supernet
    from searchitect.nets.text import NextToken as NextToken
    from searchitect.nets.text import TokenAttention as TokenAttention
    from searchitect.nets.text import TokenConv as TokenConv
    from searchitect.nets.text import TokenEmbedding as TokenEmbedding
    from searchitect.nets.text import TokenMean as TokenMean
    from searchitect.nets.vertices import VertexCell as VertexCell

# Block classes and their files; a space read from a file may name these and nothing else of this package.
BLOCKS = {
    "Branches": "blocks",
    "DropPath": "blocks",
    "Mean": "blocks",
    "Residual": "blocks",
    "SqueezeExcite": "blocks",
    "Zero": "blocks",
    "Depthwise": "operations",
    "SameConv": "operations",
    "Skip": "operations",
    "Cell": "cells",
    "Edge": "cells",
    "Members": "cells",
    "TwoInputCell": "cells",
    "TwoInputChain": "cells",
    "RecurrentCell": "recurrent",
    "ColumnTokens": "sequence",
    "ConvMixing": "sequence",
    "Position": "sequence",
    "SelfAttention": "sequence",
    "Tokens": "sequence",
    "NextToken": "text",
    "TokenAttention": "text",
    "TokenConv": "text",
    "TokenEmbedding": "text",
    "TokenMean": "text",
    "VertexCell": "vertices",
}
_FILES = BLOCKS | {
    "build": "building",
    "build_plan": "building",
    "Cost": "cost",
    "Costs": "cost",
    "Ensemble": "ensembles",
    "Supernet": "supernets",
    "supernet": "supernets",
    "recalibrate": "inherit",
    "reestimate": "inherit",
}

__all__ = ["BLOCKS", *_FILES]


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
