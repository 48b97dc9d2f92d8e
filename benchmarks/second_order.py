"""DARTS' second order: how far the published finite difference is from the exact gradient, and what both cost.

    python benchmarks/second_order.py --seeds 12 --json
    python benchmarks/second_order.py --only-costs --json

On supernets of NAS-Bench-201 and DARTS cells in training mode, on the digits of scikit-learn, after some weights steps.
Error: norm of the difference from the exact gradient over the norm of its second term (what second order adds to
first), median and most over seeds; r is the radius in ε = r / norm. The exact gradient is computed in float64, and in
float32 too, to see what rounding alone does. "smooth": GELU in the place of ReLU, for one row. CPU time, one thread;
all ways alternate in one process: on the digits (64 of 8×8), and on 32×32 random images, where cells run as a whole.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from searchitect.nets.mixed import speed_up
from searchitect.nets.supernets import supernet
from searchitect.sharing.darts import Darts
from searchitect.sharing.method import Batch, Setup
from searchitect.sharing.unrolled import exact, finite
from searchitect.spaces import load_space

LR = 0.025
SPACES = {"nb201": {"cells": 1, "width": 8}, "darts": {"cells": 4, "width": 8}}
LARGE = {"nb201": ({"cells": 1, "width": 16}, 64), "darts": ({"cells": 3, "width": 8}, 32)}  # and images in a batch


def prepared(name: str, seed: int, steps: int, dtype: torch.dtype, smooth: bool = False) -> tuple[Darts, Batch, Batch]:
    """A method after some weights steps (always in float32), and a batch of either half."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    y = torch.tensor(digits.target)
    net = supernet(load_space(name, **SPACES[name]), (1, 8, 8), outputs=10, seed=seed)
    if smooth:
        for module in list(net.modules()):
            for child, part in module.named_children():
                if isinstance(part, nn.ReLU):
                    setattr(module, child, nn.GELU())
    optimizer = torch.optim.SGD(net.parameters(), LR, 0.9, weight_decay=3e-4)
    method = Darts(Setup(net, F.cross_entropy, optimizer, None, seed, 100), order=2)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    batches = [Batch(x[rows], y[rows]) for rows in order.split(64)]
    for i in range(steps):
        optimizer.zero_grad()
        method.weights_step(batches[i % 20], 0, 0.0)
        optimizer.step()
    optimizer.zero_grad()
    if dtype != torch.float32:
        net.to(dtype)
        for state in optimizer.state.values():
            state["momentum_buffer"] = state["momentum_buffer"].to(dtype)
        for alpha in method.logits.tensors():
            alpha.data = alpha.data.to(dtype)
    train, search = (Batch(b.x.to(dtype), b.y) for b in batches[20:22])
    return method, train, search


def flat(gradients: Any) -> torch.Tensor:
    return torch.cat([g.double().flatten() for g in gradients])


def errors(name: str, seed: int, steps: int, smooth: bool) -> dict[str, float]:
    """Errors of one seed over the norm of the second term, and how large that is beside the whole."""
    method, train, search = prepared(name, seed, steps, torch.float64, smooth)
    whole = flat(exact(method.setup, method.logits, train, search, LR)[1])
    second = whole - first_at(method, train, search)
    found = {"share": float(second.norm() / whole.norm())}
    for r in (0.1, 0.01, 0.001):
        double = flat(finite(method.setup, method.logits, train, search, LR, r)[1])
        found[f"float64 r={r:g}"] = float((double - whole).norm() / second.norm())
    method, train, search = prepared(name, seed, steps, torch.float32, smooth)
    found["float32 exact"] = float((flat(exact(method.setup, method.logits, train, search, LR)[1]) - whole).norm())
    found["float32 exact"] /= float(second.norm())
    for r in (0.1, 0.01, 0.001):
        single = flat(finite(method.setup, method.logits, train, search, LR, r)[1])
        found[f"float32 r={r:g}"] = float((single - whole).norm() / second.norm())
    return found


def first_at(method: Darts, train: Batch, search: Batch) -> torch.Tensor:
    """The first term of the unrolled gradient, ∇α L(w', α): a difference of radius zero without its second term."""
    from searchitect.sharing import unrolled

    weights = unrolled._weights(method.setup)
    inner = unrolled._loss(method.setup, weights, train, method.logits.detached())
    slopes = torch.autograd.grad(inner, list(weights.values()), materialize_grads=True)
    moved = {n: w.detach() for n, w in unrolled._moved(method.setup, weights, slopes, LR).items()}
    outer = unrolled._loss(method.setup, moved, search, method.logits.shares())
    return flat(torch.autograd.grad(outer, method.logits.tensors()))


def on_images(name: str) -> tuple[Darts, Batch, Batch]:
    """The same on random images of 32×32, with fast cells."""
    options, rows = LARGE[name]
    net = supernet(load_space(name, **options), (3, 32, 32), outputs=10, seed=0).to(memory_format=torch.channels_last)
    speed_up(net)
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, 3, 32, 32, generator=noise)
    y = torch.randint(10, (2, rows), generator=noise)
    train, search = (Batch(a.contiguous(memory_format=torch.channels_last), b) for a, b in zip(x, y, strict=True))
    optimizer = torch.optim.SGD(net.parameters(), LR, 0.9, weight_decay=3e-4)
    return Darts(Setup(net, F.cross_entropy, optimizer, None, 0, 100), order=2), train, search


def costs(start: tuple[Darts, Batch, Batch], repeats: int) -> dict[str, float]:
    """CPU seconds of a weights step and of architecture steps: the least of some turns, and the median of ratios."""
    method, train, search = start
    first = Darts(method.setup, order=1)
    ways = {
        "weights": lambda: method.weights_step(train, 0, 0.0),
        "first": lambda: first.architecture_step(train, search, 0, 0.0, LR),
        "exact": lambda: exact(method.setup, method.logits, train, search, LR),
        "finite": lambda: finite(method.setup, method.logits, train, search, LR),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, run in ways.items():
            began = time.process_time()
            run()
            if turn:
                times[way].append(time.process_time() - began)
    ratio = statistics.median(a / b for a, b in zip(times["exact"], times["finite"], strict=True))
    return {way: min(seconds) for way, seconds in times.items()} | {"exact / finite": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=list(SPACES), choices=list(SPACES))
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 20, 100])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only-costs", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.spaces:
        rounds = [(steps, False) for steps in args.steps] + ([(args.steps[0], True)] if name == "nb201" else [])
        for steps, smooth in [] if args.only_costs else rounds:
            rows = [errors(name, seed, steps, smooth) for seed in range(args.seeds)]
            summary = {
                key: {"median": statistics.median(r[key] for r in rows), "most": max(r[key] for r in rows)}
                for key in rows[0]
            }
            _show(args.json, {"space": name, "steps": steps, "smooth": smooth, "seeds": args.seeds, "errors": summary})
        _show(args.json, {"space": name, "seconds": costs(prepared(name, 0, 3, torch.float32), args.repeats)})
        _show(args.json, {"space": name, "size": 32, "seconds": costs(on_images(name), max(3, args.repeats // 3))})


def _show(as_json: bool, found: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps(found), flush=True)
        return
    for key, value in found.items():
        if not isinstance(value, dict):
            print(f"{key}: {value}")
            continue
        for name, number in value.items():
            numbers = number.values() if isinstance(number, dict) else (number,)
            print(f"  {name:16} {'  '.join(f'{v:.3g}' for v in numbers)}", flush=True)


if __name__ == "__main__":
    main()
