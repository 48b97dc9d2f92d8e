"""Trials trained by Lightning's Trainer: pip install 'searchitect[lightning]'

python examples/with_lightning.py [trials] [folder]
"""

import sys

import lightning.pytorch as pl
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from searchitect import Space, lazy, one_of, search
from searchitect.interop.lightning import fit_with_lightning

L = lazy(nn)
SPACE = Space(L.Sequential(L.LazyLinear(one_of(16, 64)), one_of(L.ReLU(), L.Tanh()), L.LazyLinear(10)))


class Classifier(pl.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 3e-3)


def loaders():
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    parts = [TensorDataset(x[a:b].float() / 16, y[a:b]) for a, b in ((0, 1200), (1200, 1797))]
    return DataLoader(parts[0], 64, shuffle=True), DataLoader(parts[1], 600)


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    path = sys.argv[2] if len(sys.argv) > 2 else "runs/with-lightning"
    evaluate = fit_with_lightning(Classifier, loaders, "val_accuracy", max_epochs=3)
    study = search(SPACE, evaluate=evaluate, objectives="max val_accuracy", sample=(64,), trials=trials, path=path)
    print(study.best.value("val_accuracy"), study.best.architecture.decisions)
