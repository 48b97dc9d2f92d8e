"""The cost table of our own blocks, beside that of `torch.nn` layers; see `parts.py` for the terms."""

from __future__ import annotations

import math
from typing import Any

from searchitect.nets.parts import Part, Rule, Shape, Unusual, Walk, chain, misfit, numbers, same_shapes, side_by_side
from searchitect.space import Plan

NETS = "searchitect.nets."


def _residual(walk: Walk, plan: Plan, shape: Shape) -> Part:
    body = walk(plan.args["body"], shape)
    if body.shape != shape:
        return body
    return side_by_side(plan, [body], "sum")


def _branches(walk: Walk, plan: Plan, shape: Shape) -> Part:
    parts = [walk(child, shape) for child in plan.args["*"]]
    return side_by_side(plan, parts, plan.args.get("merge", "sum"))


def _strided(plan: Plan, shape: Shape) -> Shape:
    stride = plan.args.get("stride", 1)
    return (shape[0], *((n - 1) // stride + 1 for n in shape[1:]))


def _zero(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    return Part(_strided(plan, shape))


def _skip(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    if plan.args.get("stride", 1) == 1:
        return Part(shape, view=True)
    if plan.args["stride"] != 2:
        raise Unusual
    out, width = _strided(plan, shape), shape[0]
    return Part(out, width * width + 2 * width, width * numbers(out), numbers(shape) + _shifted(shape) + numbers(out))


def _shifted(shape: Shape) -> int:
    return numbers(shape) if shape[0] > 1 else 0  # the padded copy that the second half of a reduction sees


def _op(plan: Plan, shape: Shape, *, deep: bool) -> Part:
    """ReLU, convolution(s), BatchNorm at one width; `deep` ones are depthwise, then 1×1, perhaps twice."""
    args, width = plan.args, shape[0]
    kernel = args["kernel"]
    if kernel % 2 == 0:
        misfit(plan, f"kernel={kernel}: only odd kernels keep the size")
    out = _strided(plan, shape)
    window, pixels = kernel ** (len(shape) - 1), math.prod(out[1:])
    if not deep:
        weights = width * width * window
        return Part(out, weights + 2 * width, weights * pixels, numbers(shape) + numbers(out))
    times = 2 if args.get("twice") else 1
    weights = width * window + width * width
    # kept: ReLU's output, the depthwise output, BatchNorm's input; the second round starts from `out`
    kept = numbers(shape) + 2 * numbers(out) + (times - 1) * 3 * numbers(out)
    return Part(out, times * (weights + 2 * width), times * weights * pixels, kept)


def _same_conv(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    return _op(plan, shape, deep=False)


def _depthwise(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    return _op(plan, shape, deep=True)


def _squeeze_excite(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    width = shape[0]
    hidden = max(1, width // plan.args.get("ratio", 4))
    weights = 2 * width * hidden
    return Part(shape, weights + width + hidden, weights, 2 * width + hidden, keeps_input=True)


def _mean(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    dim = plan.args.get("dim", 1)
    place = dim + len(shape) if dim < 0 else dim - 1
    if not 0 <= place < len(shape):
        misfit(plan, f"dim={dim} is no dimension of an input of shape {shape} with a batch before it")
    return Part((*shape[:place], *shape[place + 1 :]))


def _drop_path(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    p = plan.args["p"]
    if not 0 <= p < 1:
        raise Unusual
    return Part(shape, view=True) if p == 0 else Part(shape)


def _tokens(plan: Plan, shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        misfit(plan, f"needs tokens of shape (tokens, channels), got {shape}: put Tokens() before it")
    return shape[0], shape[1]


def _self_attention(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    length, width = _tokens(plan, shape)
    dim, heads = plan.args["dim"], plan.args["heads"]
    if width != dim:
        misfit(plan, f"the input has {width} channels, but dim={dim}")
    if dim % heads:
        misfit(plan, f"heads={heads} does not divide dim={dim}")
    weights = 4 * dim * dim
    # kept: query, key, value, what was seen, and one number per head and token
    kept = 4 * length * dim + heads * length
    return Part(shape, weights + 4 * dim, length * weights + 2 * length * length * dim, kept, keeps_input=True)


def _conv_mixing(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    _, width = _tokens(plan, shape)
    kernel = plan.args["kernel"]
    if kernel % 2 == 0:
        misfit(plan, f"kernel={kernel}: only odd kernels keep the length")
    return Part(shape, width * (kernel + 1), numbers(shape) * kernel, keeps_input=True)


def _to_tokens(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    if len(shape) < 2:
        misfit(plan, f"needs a map of shape (channels, height, width) or (channels, length), got {shape}")
    return Part((math.prod(shape[1:]), shape[0]), view=True)


def _position(_walk: Walk, _plan: Plan, shape: Shape) -> Part:
    return Part(shape, numbers(shape))


def _column_tokens(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    if len(shape) != 1:
        misfit(plan, f"needs rows of a table (columns,), got {shape}")
    out = (shape[0], plan.args["dim"])
    return Part(out, 2 * numbers(out), numbers(out), 0, keeps_input=True)


def _embedding(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    args = plan.args
    if shape != (args["length"],):
        misfit(plan, f"the input has shape {shape}, but length={args['length']}")
    out = (args["length"], args["dim"])
    return Part(out, (args["vocabulary"] + 1) * args["dim"] + numbers(out), 0, numbers(out))


def _token_attention(walk: Walk, plan: Plan, shape: Shape) -> Part:
    usual = _self_attention(walk, plan, shape)
    return usual._replace(params=usual.params - 4 * plan.args["dim"])  # no biases


def _token_conv(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    length, width = _tokens(plan, shape)
    kernel, dim = plan.args["kernel"], plan.args["dim"]
    if width != dim:
        misfit(plan, f"the input has {width} channels, but dim={dim}")
    if kernel % 2 == 0 and not plan.args.get("causal"):
        misfit(plan, f"kernel={kernel}: only odd kernels keep the length")
    return Part(shape, width * kernel, numbers(shape) * kernel, (length + kernel) * width, keeps_input=True)


def _token_mean(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    return Part((_tokens(plan, shape)[1],))


def _next_token(walk: Walk, plan: Plan, shape: Shape) -> Part:
    return walk(plan.args["head"], (_tokens(plan, shape)[1],))


def _members(walk: Walk, plan: Plan, shape: Shape) -> Part:
    parts = [walk(child, shape) for child in plan.args["*"]]
    kept = sum(part.kept + (numbers(part.shape) if part.keeps_output else 0) for part in parts)
    params, macs = sum(part.params for part in parts), sum(part.macs for part in parts)
    return Part(tuple(part.shape for part in parts), params, macs, kept, any(part.keeps_input for part in parts))


def _edge(walk: Walk, plan: Plan, states: Shape) -> Part:
    source = plan.args["source"]
    if not 0 <= source < len(states):
        misfit(plan, f"source={source}: there are {len(states)} states, counted from 0")
    return walk(plan.args["op"], states[source])


def _cell(walk: Walk, plan: Plan, shape: Shape) -> Part:
    edges = plan.args["edges"]
    states, needed = [shape], [False]
    params = macs = kept = first = 0
    while first < len(edges):
        count = len(states)
        if first + count > len(edges):
            misfit(plan, f"{len(edges)} edges: a cell of n nodes has n(n-1)/2 of them (1, 3, 6, 10, ...)")
        out: Shape | None = None
        for i in range(count):
            part = walk(edges[first + i], states[i])
            params += part.params
            macs += part.macs
            kept += part.kept
            if part.keeps_output:
                kept += numbers(part.shape)
            if part.keeps_input:
                needed[i] = True
            if out is None:
                out = part.shape
            elif part.shape != out:
                same_shapes(plan, [out, part.shape])
        first += count
        states.append(out or shape)
        needed.append(False)
    kept += sum(numbers(state) for state, need in zip(states[1:], needed[1:], strict=True) if need)
    return Part(states[-1], params, macs, kept, needed[0])


def _vertex_cell(_walk: Walk, plan: Plan, shape: Shape) -> Part:
    if len(shape) != 3:
        raise Unusual
    if not plan.args["vertices"]:
        misfit(plan, "no path leads from the input to the output: add an edge")
    channels, pixels = shape[0], _pixels(shape)
    params = macs = kept = 0
    needed = [False]  # whether the next operations keep a state that nobody holds yet
    widths = [channels]
    for name, width, sources in plan.args["vertices"]:
        seen = [j for j in sources if j]
        weights = channels * width if 0 in sources else 0
        params += weights + 2 * width * (0 in sources)
        kept += 2 * width * pixels * (0 in sources)  # of a projection, what BatchNorm and ReLU keep
        if name != "output":
            if len(sources) > 1:
                kept += width * pixels  # the sum
            elif seen and needed[seen[0]]:
                kept += widths[seen[0]] * pixels
                needed[seen[0]] = False
        if name == "max_pool_3x3":
            kept += 2 * width * pixels  # indices take 8 bytes each
        elif name != "output":
            kernel = 9 if name == "conv_3x3" else 1
            weights += kernel * width * width
            params += kernel * width * width + 2 * width
            kept += 2 * width * pixels
        macs += weights * pixels
        needed.append(name == "max_pool_3x3")
        widths.append(width)
    last = plan.args["vertices"][-1][2]
    alone = len(last) == 1 and not needed[last[0]]  # the output is a tensor that is kept already
    reads = any(0 in sources for _, _, sources in plan.args["vertices"])
    return Part((widths[-1], *shape[1:]), params, macs, kept - alone * widths[-1] * pixels, reads, alone)


def _two_input_cell(walk: Walk, plan: Plan, pair: Shape) -> Part:
    args = plan.args
    width, halved = args["width"], bool(args.get("after_reduction"))
    older, newer = pair
    states = [_entry(older, width, halved), _entry(newer, width, False)]
    same_shapes(plan, states)
    needed = [False, False]
    params = width * (older[0] + newer[0]) + 4 * width
    macs = width * (older[0] * _pixels(states[0]) + newer[0] * _pixels(states[1]))
    # kept: both ReLU outputs (padded once more for the second half of a reduction), both BatchNorm inputs
    kept = sum(map(numbers, (*pair, *states))) + (numbers(older) if halved and width > 1 else 0)
    for node in args["nodes"]:
        known = tuple(states)
        out: Shape | None = None
        for source, part in _terms(walk, node, known):
            params += part.params
            macs += part.macs
            kept += part.kept
            if part.keeps_output:
                kept += numbers(part.shape)
            if part.keeps_input and source is not None:
                needed[source] = True
            if out is None:
                out = part.shape
            elif part.shape != out:
                same_shapes(node, [out, part.shape])
        states.append(out or known[0])
        needed.append(False)
    kept += sum(numbers(state) for state, need in zip(states, needed, strict=True) if need)
    inner = states[2:]
    if any(state[1:] != inner[0][1:] for state in inner):
        misfit(plan, f"the inner states have different sizes: {', '.join(map(str, inner))}")
    return Part((sum(state[0] for state in inner), *inner[0][1:]), params, macs, kept)


def _terms(walk: Walk, node: Plan, states: Shape) -> list[tuple[int | None, Part]]:
    """The outputs that a node sums, each with the state it reads (None when that is not known)."""
    if node.target == NETS + "Members":
        found: list[tuple[int | None, Part]] = []
        for child in node.args["*"]:
            part = walk(child, states) if child.target != NETS + "Edge" else _edge(walk, child, states)
            found.append((child.args.get("source"), part))
        return found
    whole = walk(node, states)
    shapes = whole.shape
    found = [(None, Part(shapes[0], whole.params, whole.macs, whole.kept))]
    return [*found, *((None, Part(shape)) for shape in shapes[1:])]


def _entry(shape: Shape, width: int, halved: bool) -> Shape:
    if len(shape) != 3:
        raise Unusual
    return (width, *((n - 1) // 2 + 1 if halved else n for n in shape[1:]))


def _pixels(shape: Shape) -> int:
    return math.prod(shape[1:])


def _two_input_chain(walk: Walk, plan: Plan, shape: Shape) -> Part:
    args: dict[str, Any] = plan.args
    stem = walk(args["stem"], shape)
    parts, older, newer = [stem], stem.shape, stem.shape
    for cell in args["cells"]:
        part = walk(cell, (older, newer))
        older, newer = newer, part.shape
        parts.append(part)
    parts.append(walk(args["head"], newer))
    return chain(parts, shape)


BLOCK_COSTS: dict[str, Rule] = {
    NETS + "Residual": _residual,
    NETS + "Branches": _branches,
    NETS + "Zero": _zero,
    NETS + "Skip": _skip,
    NETS + "SameConv": _same_conv,
    NETS + "Depthwise": _depthwise,
    NETS + "SqueezeExcite": _squeeze_excite,
    NETS + "Mean": _mean,
    NETS + "DropPath": _drop_path,
    NETS + "Tokens": _to_tokens,
    NETS + "SelfAttention": _self_attention,
    NETS + "ConvMixing": _conv_mixing,
    NETS + "Position": _position,
    NETS + "ColumnTokens": _column_tokens,
    NETS + "TokenEmbedding": _embedding,
    NETS + "TokenAttention": _token_attention,
    NETS + "TokenConv": _token_conv,
    NETS + "TokenMean": _token_mean,
    NETS + "NextToken": _next_token,
    NETS + "Members": _members,
    NETS + "Edge": _edge,
    NETS + "Cell": _cell,
    NETS + "VertexCell": _vertex_cell,
    NETS + "TwoInputCell": _two_input_cell,
    NETS + "TwoInputChain": _two_input_chain,
}
