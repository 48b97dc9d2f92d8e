"""A space of your own on arrays of your own, with a hand-made network to beat.

python examples/own_space.py [trials]
"""

import sys

import torch.nn as nn
from sklearn.datasets import load_digits

from searchitect import OUTPUTS, Space, lazy, one_of, repeat, search
from searchitect import nets as blocks

L, B = lazy(nn), lazy(blocks)


def conv(width, kernel):
    return L.Sequential(L.LazyConv2d(width, kernel, padding="same", bias=False), L.LazyBatchNorm2d(), L.ReLU())


def stage(width):
    return repeat(lambda: one_of(conv=conv(width, one_of(3, 5)), residual=B.Residual(conv(width, 3))), 1, 3)


def make_baseline():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


SPACE = Space(
    L.Sequential(
        stage(one_of(8, 16)), L.MaxPool2d(2), stage(one_of(16, 32)),
        L.AdaptiveAvgPool2d(1), L.Flatten(), L.LazyLinear(OUTPUTS),
    ),
    name="my space",
)  # fmt: skip

if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    x, y = load_digits(return_X_y=True)
    path = sys.argv[2] if len(sys.argv) > 2 else "runs/own-space"
    data = x.reshape(-1, 1, 8, 8), y
    study = search(SPACE, data, baseline=make_baseline, trials=trials, epochs=4, path=path)
    print(study.space.size, "architectures")
    print(study.verdict.sentence)
