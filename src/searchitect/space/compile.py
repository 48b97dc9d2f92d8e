"""From nodes to what every walk uses: named decisions in a condensed tree, and templates for plans.

A `Decision` knows the decisions that each of its options brings in; layers are left out, so that a walk
costs one step per decision. A `Template` makes the plan of one architecture from its decisions. Parts
without decisions become the same `Plan` object every time, so that costs and keys can be remembered.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from searchitect.errors import ArchitectureError, SpaceError
from searchitect.space.architecture import Scalar
from searchitect.space.decision import Decision, Plan
from searchitect.space.nodes import (
    FUNCTIONS,
    Choice,
    Float,
    Int,
    Layer,
    Node,
    Repeat,
    Subset,
    describe,
    is_module,
)

LIMIT_DEPTH = 120  # nodes inside one another; every walk of a space is recursive
LIMIT_LAYERS = 1_000_000  # of the largest architecture

Values = Mapping[str, Scalar]
Template = Callable[[Values, int | None], Any]


class Compiled:
    """The decisions and the template of one space."""

    def __init__(self, root: Any) -> None:
        self.by_name: dict[str, Decision] = {}
        self.targets: dict[str, Any] = {}
        self.ties: list[str] = []
        self.decision_of: dict[int, Decision] = {}  # by the id of a node; the space keeps its nodes alive
        self.place_of: dict[int, str] = {}
        self._done: dict[int, tuple[Any, Template, tuple[Decision, ...]]] = {}
        self._open: set[int] = set()
        self._tie_depth = 0
        self._tied: set[str] = set()  # decisions that were met below a tie
        try:
            self.template, self.roots = self._walk(root, getattr(root, "label", None) or "")
            layers, depth = _extent(root, {})
        except RecursionError:
            raise _too_deep(root, "the root") from None
        if depth > LIMIT_DEPTH:
            raise _too_deep(root, "the root")
        if layers > LIMIT_LAYERS:
            raise SpaceError(
                f"an architecture of this space could have {min(layers, 10**300):.3g} layers: at most {LIMIT_LAYERS:,} "
                "are allowed; lower the counts of repeat(), or the repeats inside repeats"
            )
        for i, decision in enumerate(self.by_name.values()):
            decision.id = i
        self.ties = sorted(set(self.ties))
        del self._done, self._open

    def _walk(self, value: Any, path: str) -> tuple[Template, tuple[Decision, ...]]:
        if isinstance(value, (list, tuple, dict)):
            return self._walk_container(value, path)
        if not isinstance(value, Node):
            return (lambda _values, _outputs: value), ()
        if id(value) in self._done:
            _, template, decisions = self._done[id(value)]
            self.ties += [d.name for d in decisions]
            return template, decisions
        if id(value) in self._open:
            raise SpaceError(
                f"{describe(value)} at {path or 'the root'!r} contains itself, so it would never end: describe its "
                "inner part anew, for example by repeat(callable, low, high)"
            )
        self._open.add(id(value))
        if len(self._open) > LIMIT_DEPTH:
            raise _too_deep(value, path)
        if value.tie is not None:
            path = value.tie
            self._tie_depth += 1
        self.place_of[id(value)] = path
        template, decisions = self._visit(value, path)
        self._tie_depth -= value.tie is not None
        self._open.discard(id(value))
        self._done[id(value)] = (value, template, decisions)
        return template, decisions

    def _visit(self, node: Node, path: str) -> tuple[Template, tuple[Decision, ...]]:
        if isinstance(node, Layer):
            return self._layer(node, path)
        if isinstance(node, Choice):
            return self._choice(node, path)
        if isinstance(node, Subset):
            return self._subset(node, path)
        if isinstance(node, Repeat):
            return self._repeat(node, path)
        return self._number(node, path)

    def _parts(self, node: Node, path: str) -> list[tuple[Template, tuple[Decision, ...]]]:
        return [self._walk(child, place) for child, place in _places(node.children(), path, describe(node))]

    def _walk_container(self, value: Any, path: str) -> tuple[Template, tuple[Decision, ...]]:
        items = list(value.items()) if isinstance(value, dict) else [(str(i), v) for i, v in enumerate(value)]
        walked = [self._walk(child, place) for child, place in _places(items, path, "the list")]
        templates, decisions = [t for t, _ in walked], _merge(d for _, d in walked)
        if isinstance(value, dict):
            keys = list(value)
            return (lambda v, o: {k: t(v, o) for k, t in zip(keys, templates, strict=True)}), decisions
        kind = type(value)
        return (lambda v, o: kind([t(v, o) for t in templates])), decisions

    def _layer(self, node: Layer, path: str) -> tuple[Template, tuple[Decision, ...]]:
        if node.function is not None and node.target not in FUNCTIONS:
            self._meet(node.target, node.function, path)
        _places(node.children(), path, describe(node))
        walked: dict[str, tuple[Template, tuple[Decision, ...]]] = {}
        for name, value in node.args.items():
            part = value.label if isinstance(value, Node) and value.label else "" if name == "*" else name
            walked[name] = self._walk(value, ".".join(p for p in (path, part) if p))
        decisions = _merge(d for _, d in walked.values())
        templates = {name: template for name, (template, _) in walked.items()}
        template = _calling(node, path, templates) if not node.module else _making(node.target, path, templates)
        return (template if decisions else _constant(template)), decisions

    def _meet(self, target: str, function: Any, path: str) -> None:
        if self.targets.setdefault(target, function) is not function:
            raise SpaceError(
                f"two different things are called {target!r}, the second at {path or 'the root'!r}: rename one of them "
                "(classes made inside a function are new ones at each call: move them to the top of the module)"
            )

    def _choice(self, node: Choice, path: str) -> tuple[Template, tuple[Decision, ...]]:
        parts = self._parts(node, path)
        self._search_only(node, path)
        if len(parts) == 1:
            return parts[0]
        templates = [t for t, _ in parts]
        decision = self._register(
            Decision(path or "choice", "choice", node.labels, modules=is_module(node)),
            node,
            [d for _, d in parts],
        )
        name, index = decision.name, decision.index
        return (lambda v, o: templates[index[v[name]]](v, o)), (decision,)

    def _search_only(self, node: Choice, path: str) -> None:
        for label, option in node.search_only.items():
            if self._walk(option, f"{path}.{label}" if path else label)[1]:
                raise SpaceError(f"the search-only option {label!r} at {path!r} holds decisions: write it without any")

    def _subset(self, node: Subset, path: str) -> tuple[Template, tuple[Decision, ...]]:
        parts = self._parts(node, path)
        templates = [t for t, _ in parts]
        combos = list(itertools.combinations(range(len(parts)), node.k))

        def members(chosen: Sequence[int], v: Values, o: int | None) -> Plan:
            return Plan("searchitect.nets.Members", {"*": tuple([templates[i](v, o) for i in chosen])}, path)

        if len(combos) == 1:
            everything = range(len(parts))
            return (lambda v, o: members(everything, v, o)), _merge(d for _, d in parts)
        labels = ["+".join(node.labels[i] for i in combo) for combo in combos]
        below = [_merge(parts[i][1] for i in combo) for combo in combos]
        decision = self._register(Decision(path or "subset", "subset", labels, modules=True), node, below)
        name, index = decision.name, decision.index
        return (lambda v, o: members(combos[index[v[name]]], v, o)), (decision,)

    def _repeat(self, node: Repeat, path: str) -> tuple[Template, tuple[Decision, ...]]:
        # each copy is a scope of its own, so that a label inside is not taken twice
        places = [(copy, ".".join(p for p in (path, str(i), copy.label) if p)) for i, copy in enumerate(node.copies)]
        parts = [self._walk(copy, place) for copy, place in places]
        templates = [t for t, _ in parts]

        def copies(count: int, v: Values, o: int | None) -> Plan:
            return Plan("torch.nn.Sequential", {"*": tuple([t(v, o) for t in templates[:count]])}, path)

        if node.low == len(parts):
            decisions = _merge(d for _, d in parts)
            whole: Template = lambda v, o: copies(len(parts), v, o)  # noqa: E731 - a template is a closure
            return (whole if decisions else _constant(whole)), decisions
        counts = range(node.low, len(parts) + 1)
        below = [_merge(d for _, d in parts[:count]) for count in counts]
        decision = self._register(
            Decision(path or "repeat", "repeat", counts, (node.low, len(parts)), modules=True), node, below
        )
        name = decision.name
        return (lambda v, o: copies(v[name], v, o)), (decision,)

    def _number(self, node: Node, path: str) -> tuple[Template, tuple[Decision, ...]]:
        if isinstance(node, Int):
            if node.low == node.high:
                low = node.low
                return (lambda _v, _o: low), ()
            labels = range(node.low, node.high + 1, node.step)
            decision = Decision(path or "int", "int", labels, (node.low, node.high), log=node.log)
        elif isinstance(node, Float):
            decision = Decision(path or "float", "float", None, (node.low, node.high), log=node.log)
        else:
            raise SpaceError(f"{type(node).__name__} at {path!r} is not a node that a space knows")
        decision = self._register(decision, node, [])
        name = decision.name
        return (lambda v, _o: v[name]), (decision,)

    def _register(self, decision: Decision, node: Node, below: list[tuple[Decision, ...]]) -> Decision:
        if any(below):
            decision.children = below
        known = self.by_name.get(decision.name)
        self.decision_of[id(node)] = known or decision
        if known is None:
            self.by_name[decision.name] = decision
            if self._tie_depth:
                self._tied.add(decision.name)
            return decision
        same = known.kind == decision.kind and known.labels == decision.labels
        same = same and (known.low, known.high, known.log) == (decision.low, decision.high, decision.log)
        if not same or (known.children or []) != (decision.children or []):
            raise SpaceError(
                f"two different decisions are both named {decision.name!r} ({known.kind}: {known.allowed()}; "
                f"{decision.kind}: {decision.allowed()}): give one another name, or make both "
                "offer the same to tie them"
            )
        if not self._tie_depth or decision.name not in self._tied:
            raise SpaceError(
                f"two decisions are both named {decision.name!r}: rename one, or tie them with tie={decision.name!r}"
            )
        self.ties.append(decision.name)
        return known


def _places(parts: list[tuple[str, Any]], path: str, owner: str) -> list[tuple[Any, str]]:
    """Each child with its path. Raises SpaceError when two different ones have one name."""
    seen: dict[str, Any] = {}
    for part, child in parts:
        label = child.label if isinstance(child, Node) and child.label else part
        if label in seen and seen[label] is not child and getattr(child, "label", None):
            raise SpaceError(
                f"two parts of {owner} at {path or 'the root'!r} are both named {label!r}: rename one of them"
            )
        seen[label] = child
    named = [(child, child.label if isinstance(child, Node) and child.label else part) for part, child in parts]
    return [(child, f"{path}.{label}" if path else label) for child, label in named]


def _too_deep(node: Any, path: str) -> SpaceError:
    return SpaceError(
        f"{describe(node):.80} at {path[:80]!r} is nested too deeply: at most {LIMIT_DEPTH} nodes may lie inside one "
        "another; put them side by side in L.Sequential(...) or repeat(...)"
    )


def _extent(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(layers of the largest architecture below a value, how deep its nodes lie inside one another)."""
    if isinstance(value, (list, tuple, dict)):
        items = value.values() if isinstance(value, dict) else value
        parts = [_extent(item, known) for item in items]
        return sum(n for n, _ in parts), max((d for _, d in parts), default=0)
    if not isinstance(value, Node):
        return 0, 0
    if id(value) not in known:
        parts = [_extent(child, known) for _, child in value.children()]
        layers = sorted((n for n, _ in parts), reverse=True)
        if isinstance(value, (Choice, Subset)):
            layers = layers[: value.k if isinstance(value, Subset) else 1]
        known[id(value)] = sum(layers) + isinstance(value, Layer), 1 + max((d for _, d in parts), default=0)
    return known[id(value)]


def _merge(groups: Any) -> tuple[Decision, ...]:
    seen: dict[str, Decision] = {}
    for group in groups:
        for decision in group:
            seen.setdefault(decision.name, decision)
    return tuple(seen.values())


def _constant(template: Template) -> Template:
    made: dict[int | None, Any] = {}

    def remembered(values: Values, outputs: int | None) -> Any:
        found = made.get(outputs)
        if found is None:
            found = made[outputs] = template(values, outputs)
        return found

    return remembered


def _making(target: str, path: str, templates: dict[str, Template]) -> Template:
    items = list(templates.items())
    return lambda v, o: Plan(target, {name: t(v, o) for name, t in items}, path)


def _calling(node: Layer, path: str, templates: dict[str, Template]) -> Template:
    target, function = node.target, node.function
    if target == "searchitect.OUTPUTS":
        symbol = Plan(target, {}, path, module=False)
        return lambda _v, o: symbol if o is None else o
    items = list(templates.items())

    def call(values: Values, outputs: int | None) -> Any:
        args = {name: t(values, outputs) for name, t in items}
        if function is None or any(isinstance(a, Plan) for a in args.values()):
            return Plan(target, args, path, module=False)
        try:
            return function(*args.values()) if target in FUNCTIONS else apply(function, args)
        except Exception as error:
            raise ArchitectureError(
                f"{path or target}: {target}({args}) raised {type(error).__name__}: {error}"
            ) from error

    return call


def apply(function: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    """Call a class or function with arguments stored by name ("*" holds those of a `*args` parameter)."""
    if "*" not in args:
        return function(**args)
    keywords = {name: value for name, value in args.items() if name != "*"}
    first = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            break
        first.append(keywords.pop(parameter.name))
    return function(*first, *args["*"], **keywords)
