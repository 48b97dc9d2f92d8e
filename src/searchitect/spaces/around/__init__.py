"""From a network of the user's to a space around it: `space_around(model, sample)`, and `with_weights`.

Four steps: `tracing` (what the network's forward does), `grouping` (what follows what, sums, concatenations), `widths`
(which layers must keep one width), `nodes` and `writing` (the tree with choices).
`describing` says how a module is made.
"""

from searchitect.spaces.around.writing import space_around, with_weights

__all__ = ["space_around", "with_weights"]
