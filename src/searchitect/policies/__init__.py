"""Policies: distributions over the architectures of a space that can be moved towards what was rewarded.

Strategies and weight-sharing methods get from here `make_policy`, the abstract `Policy` (sample, log_probs, entropies,
ascend, snapshot) and nothing else: who gives the rewards, and how they become weights, is not known here. `POLICIES`
maps names to "module:Class"; torch is loaded only with a policy that needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from searchitect.errors import UsageError
from searchitect.policies.base import Policy, Sample
from searchitect.space import Space

POLICIES: dict[str, str] = {
    "factorised": "searchitect.policies.factorised:FactorisedPolicy",
    "lstm": "searchitect.policies.lstm:LstmPolicy",
}

__all__ = ["POLICIES", "Policy", "Sample", "make_policy"]


def make_policy(name: str, space: Space, seed: int, options: Mapping[str, Any] | None = None) -> Policy:
    """A new policy over the space. Raises UsageError for a name or an option that there is not."""
    if name not in POLICIES:
        raise UsageError(f"policy {name!r} is not known: write one of {', '.join(POLICIES)}")
    module, _, attribute = POLICIES[name].partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    try:
        policy: Policy = cls(space, seed, **(options or {}))
    except TypeError as error:
        raise UsageError(f"policy {name!r}: {error}; its options are written in its docstring") from error
    return policy
