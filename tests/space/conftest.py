"""Shared by the tests of spaces: counting by brute force, written without the code under test."""

import itertools

import pytest

from searchitect.space import Choice, Float, Int, Layer, Node, Repeat, Subset


def identities(root):
    """A name for each decision: by object, or by tie and the way below it. The first place counts."""
    found = {}

    def visit(value, inside):
        if isinstance(value, (list, tuple, dict)):
            for part, item in value.items() if isinstance(value, dict) else enumerate(value):
                visit(item, inside and (*inside, part))
        elif isinstance(value, Node) and id(value) not in found:
            inside = (value.tie,) if value.tie else inside
            found[id(value)] = inside or id(value)
            for part, child in value.args.items() if isinstance(value, Layer) else value.children():
                visit(child, inside and (*inside, part))

    visit(root, ())
    return found


def outcomes(value, chosen, names):
    """Each way to decide what lies below `value`, as an extension of `chosen`."""
    if isinstance(value, (list, tuple, dict)):
        yield from each(list(value.values() if isinstance(value, dict) else value), chosen, names)
    elif isinstance(value, Layer):
        yield from each(list(value.args.values()), chosen, names)
    elif isinstance(value, Node):
        mine = names[id(value)]
        ways = list(options(value))
        for option, below in ways:
            if len(ways) == 1:
                yield from each(below, chosen, names)
            elif chosen.get(mine, option) == option:
                yield from each(below, {**chosen, mine: option}, names)
    else:
        yield chosen


def options(node):
    if isinstance(node, Choice):
        yield from ((i, [option]) for i, option in enumerate(node.options))
    elif isinstance(node, Subset):
        yield from ((i, list(c)) for i, c in enumerate(itertools.combinations(node.options, node.k)))
    elif isinstance(node, Repeat):
        yield from ((n, list(node.copies[:n])) for n in range(node.low, len(node.copies) + 1))
    elif isinstance(node, Int):
        yield from ((n, []) for n in range(node.low, node.high + 1, node.step))
    elif isinstance(node, Float):
        yield 0.0, []


def each(values, chosen, names):
    if not values:
        yield chosen
        return
    for more in outcomes(values[0], chosen, names):
        yield from each(values[1:], more, names)


@pytest.fixture
def brute_force():
    return lambda root: outcomes(root, {}, identities(root))
