"""Your own loop with Hugging Face Accelerate: pip install 'searchitect[accelerate]'

python examples/with_accelerate.py [trials] [folder]
"""

import sys

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from searchitect import Space, lazy, one_of, search
from searchitect.interop.accelerate import with_accelerate

L = lazy(nn)
SPACE = Space(L.Sequential(L.LazyLinear(one_of(16, 64)), one_of(L.ReLU(), L.Tanh()), L.LazyLinear(10)))


@with_accelerate
def evaluate(model, trial, accelerator):
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    training = DataLoader(TensorDataset(x[:1200].float() / 16, y[:1200]), 64, shuffle=True)
    model, optimizer, training = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), 3e-3), training)
    for epoch in range(3):
        for inputs, classes in training:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(inputs), classes))
            optimizer.step()
        guesses = model(x[1200:].float().to(accelerator.device) / 16).argmax(1).cpu()
        trial.report(epoch, accuracy=(guesses == y[1200:]).float().mean())
        if trial.should_stop():
            break
    return trial.curve[-1]["accuracy"]


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    path = sys.argv[2] if len(sys.argv) > 2 else "runs/with-accelerate"
    study = search(SPACE, evaluate=evaluate, objectives="accuracy", sample=(64,), trials=trials, path=path)
    print(study.best.value("accuracy"), study.best.architecture.decisions)
