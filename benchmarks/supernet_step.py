"""Time and memory of a supernet's search step: the fast cells of `nets.mixed` against one module after the other.

    python benchmarks/supernet_step.py --space darts --method darts --channels 16 --layers 8 --batch 64 --json
    python benchmarks/supernet_step.py --network space --space nb201 --method darts2

`--network published` (usual) compares with the published network (`plain_supernet.py`), `--network space` the supernet
of `searchitect search` with itself without fast cells (`space_step.py`), for all methods. `darts2` (second order) and
`pcdarts` have the second only; so has `enas`, whose paths in a weights step are those of `single` here.

A search step is an architecture step (gradients of the gates on one batch) and a weights step (gradients of all
weights on another, clipping, SGD); `single` (`spos`) has no architecture step. The plain published network makes both
by `backward`, as the published code does. Random images, one thread, CPU time; the two alternate in one process
and the least of each counts. Memory: the largest resident size of a fresh process, less what it had before the first
step. Errors: largest difference over largest value, in float64 with two images; gradients tensor by tensor.
Kernels: calls that torch's profiler sees, views and wrappers left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
import plain_supernet as plain
import space_step
from mixed_cells import fast

Gates = tuple[list[torch.Tensor], list[plain.Active]]
REFERENCE = 75.0  # GFLOP/s of the core on which the published code was timed
CLASSES = 10
PATHS = ("single", "spos")
PUBLISHED = ("darts", "snas", "drnas", "gdas", "proxyless", *PATHS)
ONLY_SPACES = ("darts2", "darts2-finite", "pcdarts", "enas", "fairnas")
VARYING = ("gdas", "proxyless", "enas", *PATHS)  # steps differ by their paths


def build(args: argparse.Namespace, kind: str) -> nn.Module:
    torch.default_generator.manual_seed(args.seed)
    net = (plain.Darts if args.space == "darts" else plain.Nb201)(args.channels, args.layers, CLASSES)
    return fast(net) if kind == "fast" else net


def alphas(args: argparse.Namespace, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    shapes = [(14, 8), (14, 8)] if args.space == "darts" else [(6, 5)]
    noise = torch.Generator().manual_seed(args.seed)
    return [(1e-3 * torch.randn(shape, generator=noise, dtype=dtype)).requires_grad_() for shape in shapes]


def gates(method: str, alpha: Sequence[torch.Tensor], noise: torch.Generator, *, learn: bool = True) -> Gates:
    """Weights (E, O) of each kind of cell, and which operations run.

    learn: whether it is an architecture step, for `proxyless`, which compares two operations there.
    """
    weights: list[torch.Tensor] = []
    active: list[plain.Active] = []
    for a in alpha:
        if method == "darts":
            weights.append(a.softmax(1))
            active.append(None)
            continue
        if method == "drnas":
            with torch.random.fork_rng():
                torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=noise)))
                weights.append(torch.distributions.Dirichlet(F.elu(a) + 1).rsample())
            active.append(None)
            continue
        if method == "proxyless":
            p = a.softmax(1)
            pairs = torch.multinomial(p.detach(), 2 if learn else 1, generator=noise)
            weights.append(F.one_hot(pairs[:, 0], a.shape[1]).to(a) + p - p.detach())
            active.append([sorted(pair) for pair in pairs.tolist()])
            continue
        gumbel = -torch.empty_like(a).exponential_(generator=noise).log()
        soft = ((a.log_softmax(1) + gumbel) / 10).softmax(1)  # temperature 10, where GDAS begins
        if method == "snas":
            weights.append(soft)
            active.append(None)
            continue
        chosen = soft.argmax(1)
        hard = F.one_hot(chosen, a.shape[1]).to(a)
        weights.append(hard if method in PATHS else hard - soft.detach() + soft)
        active.append([[k] for k in chosen.tolist()])
    return weights, active


class Searching:
    """A supernet with its optimisers."""

    def __init__(self, args: argparse.Namespace, kind: str) -> None:
        self.args, self.kind = args, kind
        self.net, self.alpha = build(args, kind), alphas(args)
        self.sgd = torch.optim.SGD(self.net.parameters(), 0.025, 0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(self.alpha, 3e-4, (0.5, 0.999), weight_decay=1e-3)
        self.noise = torch.Generator().manual_seed(args.seed)
        x = torch.randn(2, args.batch, 3, args.size, args.size, generator=self.noise)
        y = torch.randint(CLASSES, (2, args.batch), generator=self.noise)
        self.batches = list(zip(x.unbind(), y.unbind(), strict=True))

    def loss(self, batch: int, *, learn: bool) -> torch.Tensor:
        """learn: the gates take part in the gradient."""
        x, y = self.batches[batch]
        if self.kind == "fast":
            x = x.contiguous(memory_format=torch.channels_last)
        weights, active = gates(self.args.method, self.alpha, self.noise, learn=learn)
        if not learn and self.kind == "fast":
            weights = [w.detach() for w in weights]
        return F.cross_entropy(self.net(x, weights, active), y)

    def step(self) -> None:
        if self.args.method not in PATHS:
            self.architecture_step()
        self.sgd.zero_grad()
        self.adam.zero_grad()
        self.loss(0, learn=False).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.sgd.step()

    def architecture_step(self) -> None:
        loss = self.loss(1, learn=True)
        if self.kind == "fast":
            for a, gradient in zip(self.alpha, torch.autograd.grad(loss, self.alpha), strict=True):
                a.grad = gradient
        else:
            self.adam.zero_grad()
            loss.backward()
        self.adam.step()


def searching(args: argparse.Namespace, kind: str) -> Searching | space_step.SpaceSearching:
    return (Searching if args.network == "published" else space_step.SpaceSearching)(args, kind)


def cpu_time(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def matrix_rate() -> float:
    """GFLOP/s of a float32 matrix product."""
    a = torch.ones(1024, 1024)
    return 2 * 1024**3 / min(cpu_time(lambda: a @ a) for _ in range(5)) / 1e9


def times(args: argparse.Namespace) -> dict[str, float]:
    """CPU seconds per step, the least of the rounds after one to warm up."""
    both = {kind: searching(args, kind) for kind in ("plain", "fast")}
    found: dict[str, list[float]] = {"plain": [], "fast": []}
    rates = []
    for _ in range(args.rounds + 1):
        for kind, one in both.items():
            found[kind].append(cpu_time(one.step))
        rates.append(matrix_rate())
    pick = (lambda v: sum(v) / len(v)) if args.method in VARYING else min
    seconds = {kind: pick(values[1:]) for kind, values in found.items()}
    return {
        "time_ratio": seconds["fast"] / seconds["plain"],
        "seconds": seconds["fast"],
        "seconds_plain": seconds["plain"],
        "seconds_plain_at_75_gflops": seconds["plain"] * max(rates) / REFERENCE,
        "gflops": max(rates),
    }


def memory(args: argparse.Namespace, kind: str) -> int:
    """Bytes above start-up in this process."""
    one = searching(args, kind)
    start = largest_size()
    for _ in range(6 if args.method in VARYING else 2):
        one.step()
    return largest_size() - start


def largest_size() -> int:
    """Largest resident size so far, in bytes; `getrusage` would give that of the parent process if it was larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def memories(argv: Sequence[str]) -> dict[str, float]:
    found = {}
    for kind in ("plain", "fast"):
        command = [sys.executable, __file__, *argv, "--memory-of", kind]
        found[kind] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "memory_ratio": found["fast"] / found["plain"],
        "memory_gb": found["fast"] / 1e9,
        "memory_gb_plain": found["plain"] / 1e9,
    }


def errors(args: argparse.Namespace) -> dict[str, float]:
    """The same weights, gates, noise and images in float64."""
    results = {}
    if args.network == "space":
        small = argparse.Namespace(**vars(args) | {"batch": 2})
        for kind in ("plain", "fast"):
            results[kind] = space_step.SpaceSearching(small, kind, torch.float64).first()
        return largest_errors(results)
    for kind in ("plain", "fast"):
        net, alpha = build(args, kind).double(), alphas(args, torch.float64)
        noise = torch.Generator().manual_seed(args.seed)
        x = torch.randn(2, 3, args.size, args.size, generator=noise, dtype=torch.float64)
        logits = net(x, *gates(args.method, alpha, noise))
        F.cross_entropy(logits, torch.arange(2)).backward()
        named = {f"alpha{i}": a for i, a in enumerate(alpha)} | dict(net.named_parameters())
        results[kind] = logits.detach(), {name: p.grad for name, p in named.items() if p.grad is not None}
    return largest_errors(results)


def largest_errors(results: dict[str, tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> dict[str, float]:
    (logits, gradients), (true_logits, true_gradients) = results["fast"], results["plain"]
    none = torch.zeros(())  # the plain way follows `none` back with zeros, the fast way leaves it out
    most = max(float(true.abs().max()) for true in true_gradients.values())  # what is zero but for rounding is let go
    named = [(name, true) for name, true in true_gradients.items() if true.abs().max() > 1e-9 * most]
    by_tensor = [relative(gradients.get(name, none), true) for name, true in named]
    return {"logits_error": relative(logits, true_logits), "gradient_error": max(by_tensor)}


def relative(value: torch.Tensor, true: torch.Tensor) -> float:
    largest = float(true.abs().max())
    return float((value - true).abs().max()) / largest if largest else float(value.abs().max())


def kernels(args: argparse.Namespace) -> dict[str, int]:
    """Operations called in one step, each counted once with all that it calls; the batch does not matter."""
    counts = {}
    small = argparse.Namespace(**vars(args) | {"batch": 2})
    for kind in ("plain", "fast"):
        one = searching(small, kind)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            one.step()
        names = [e.name for e in profile.events() if e.name.startswith("aten::") and not inside(e)]
        counts[kind] = sum(name.removeprefix("aten::") not in VIEWS for name in names)
    return {"kernels": counts["fast"], "kernels_plain": counts["plain"]}


def inside(event: torch.autograd.profiler_util.FunctionEvent) -> bool:
    """Whether another operation called it."""
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith("aten::"):
            return True
        parent = parent.cpu_parent
    return False


VIEWS = frozenset(
    """new_empty mT to view _unsafe_view as_strided detach detach_ expand permute transpose t select slice
    unbind unsqueeze squeeze
    reshape alias view_as flatten result_type resolve_conj resolve_neg lift_fresh is_nonzero item
    _local_scalar_dense empty empty_like empty_strided resize_ _reshape_alias broadcast_tensors narrow""".split()
)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=("darts", "nb201"), default="darts")
    parser.add_argument("--method", choices=(*PUBLISHED, *ONLY_SPACES), default="darts")
    parser.add_argument("--network", choices=("published", "space"), default="published")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--layers", type=int, default=5, help="cells, or cells per stage in nb201")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", choices=("plain", "fast"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.method in ONLY_SPACES:
        args.network = "space"
    if args.memory_of:
        print(memory(args, args.memory_of))
        return
    result = errors(args) | kernels(args) | memories(argv) | times(args)
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:.3g}")


if __name__ == "__main__":
    main(sys.argv[1:])
