"""A look at a space before any training: how many networks, what they cost, which choices do nothing.

Others get from here: `check(space, sample)` and the `Check` that it returns: numbers that the command line prints.
"""

from searchitect.checking.checks import Check, check

__all__ = ["Check", "check"]
