"""The space language: what may be chosen, without torch.

Others get from here: `Space` (size, moves, plan, key, encoding, drawing), the words to write one (`lazy`,
`one_of`, `subset`, `repeat`, `integer`, `real`, `named`, `limit`, `OUTPUTS`), `Architecture` (what was chosen) and
`Plan` (what is to be built).
"""

from searchitect.space.architecture import Architecture, Scalar
from searchitect.space.compile import apply
from searchitect.space.count import Size
from searchitect.space.decision import Decision, Plan
from searchitect.space.limits import Limit, limit
from searchitect.space.moves import Draws
from searchitect.space.nodes import FUNCTIONS, Choice, Float, Int, Layer, Node, Repeat, Subset
from searchitect.space.space import Space
from searchitect.space.writing import OUTPUTS, integer, lazy, named, one_of, real, repeat, subset

__all__ = [
    "FUNCTIONS", "OUTPUTS", "Architecture", "Choice", "Decision", "Draws", "Float", "Int", "Layer", "Limit",
    "Node", "Plan", "Repeat", "Scalar", "Size", "Space", "Subset", "apply", "integer", "lazy", "limit", "named",
    "one_of", "real", "repeat", "subset",
]  # fmt: skip
