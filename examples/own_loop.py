"""Your model class and your training loop; the search chooses constructor arguments and keeps a size limit.

python examples/own_loop.py [trials] [folder]
"""

import sys
from itertools import pairwise

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.nn import functional as F

from searchitect import Space, lazy, one_of, search


class MyNet(nn.Module):
    """A network with constants lifted into constructor arguments."""

    def __init__(self, width, act, depth):
        super().__init__()
        sizes = [64, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.act = act
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return self.head(x)


def evaluate(model, trial):
    """Your loop: anything goes, as long as it returns the objectives."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    accuracy = 0.0
    for epoch in range(5):
        for batch in torch.randperm(1200).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        accuracy = (model(x[1200:]).argmax(1) == y[1200:]).float().mean()
        trial.report(epoch, accuracy=accuracy)
        if trial.should_stop():
            break
    return accuracy


L = lazy(nn)
SPACE = Space(
    lazy(MyNet)(width=one_of(16, 32, 64, 128), act=one_of(L.ReLU(), L.GELU(), L.Tanh()), depth=one_of(1, 2, 3))
)

if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    path = sys.argv[2] if len(sys.argv) > 2 else "runs/own-loop"
    aims = ["accuracy", "params", "params < 9000"]
    study = search(SPACE, evaluate=evaluate, objectives=aims, sample=(64,), trials=trials, path=path)
    for trial in study.front():
        print(trial.value("accuracy"), trial.value("params"), trial.architecture.decisions)
