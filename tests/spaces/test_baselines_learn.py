"""Each baseline learns real digits; the defaults that `auto` takes for them are quick and leave room."""

import time

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from searchitect.nets import build
from searchitect.spaces import auto, load_space
from searchitect.torchseeds import seeded_torch

FORMS = {  # space options and the form in which it sees a digit
    "cnn": ({"size": 8, "width": 8}, (1, 8, 8)),
    "mlp": ({}, (64,)),
    "tcn": ({"length": 8}, (8, 8)),
    "nb201": ({"cells": 1, "width": 8}, (1, 8, 8)),
    "mobilenet": ({"stages": 2}, (1, 8, 8)),
    "darts": ({"cells": 3, "width": 4}, (1, 8, 8)),
    "transformer": ({"patch": 2}, (1, 8, 8)),
    "macro": ({"width": 16}, (1, 8, 8)),
}


def trained(space, architecture, shape, epochs, seed=0):
    """Validation accuracy and CPU seconds of a plain training."""
    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x / 16, y, test_size=0.36, random_state=0, stratify=y)
    x_train, x_valid = (torch.tensor(part, dtype=torch.float32).reshape(-1, *shape) for part in (x_train, x_valid))
    y_train, y_valid = torch.tensor(y_train), torch.tensor(y_valid)
    model = build(space, architecture, x_train, outputs=10, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    start = time.process_time()
    with seeded_torch(seed):
        steps = epochs * (len(x_train) // 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps + 1)
        for _ in range(epochs):
            for rows in torch.randperm(len(x_train)).split(64)[: len(x_train) // 64]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x_train[rows]), y_train[rows]).backward()
                optimizer.step()
                schedule.step()
    spent = time.process_time() - start
    with torch.no_grad():
        right = model.eval()(x_valid).argmax(1) == y_valid
    return right.float().mean().item(), spent


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_each_baseline_learns_digits(name):
    options, shape = FORMS[name]
    space = load_space(name, **options)
    accuracy, _ = trained(space, space.architecture(space.baseline), shape, epochs=10)
    assert accuracy > (0.9 if name == "transformer" else 0.95)


@pytest.mark.slow
def test_the_automatic_space_for_digits_is_good_and_quick():
    space, _ = auto("image", (1, 8, 8), 1150, 180)
    found = [trained(space, space.sample(i), (1, 8, 8), epochs=12) for i in range(3)]
    assert max(accuracy for accuracy, _ in found) > 0.97
    assert min(spent for _, spent in found) < 5
