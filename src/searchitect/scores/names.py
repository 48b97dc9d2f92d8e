"""The names of the scores, where each comes from, and which passes through the network it needs. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from searchitect.errors import UsageError, meant

PAPERS: dict[str, str] = {
    "synflow": "Tanaka et al. 2020",
    "naswot": "Mellor et al. 2021",
    "jacob_cov": "Mellor et al. 2020",
    "snip": "Lee et al. 2019",
    "grad_norm": "Abdelfattah et al. 2021",
    "grasp": "Wang et al. 2020",
    "fisher": "Theis et al. 2018, Turner et al. 2020",
    "zen": "Lin et al. 2021",
    "plain": "Abdelfattah et al. 2021",
    "l2_norm": "Abdelfattah et al. 2021",
    "params": "the number of parameters",
    "macs": "multiply-accumulates of one row",
}
SCORES: tuple[str, ...] = tuple(PAPERS)
OF_LOSS = ("snip", "grad_norm", "fisher", "plain")  # share one gradient of the loss
OF_BATCH = (*OF_LOSS, "naswot", "jacob_cov")  # share one pass forward


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names as they are. Raises UsageError for one that is not known or given twice."""
    for name in names:
        if name not in PAPERS:
            raise UsageError(f"score {name!r} is not known{meant(name, SCORES)}: write one of {', '.join(SCORES)}")
    if not names or len(set(names)) < len(names):
        raise UsageError(f"scores {list(names)}: name at least one, each once")
    return tuple(names)
