"""A user's own space, baseline and classes, as named on the command line. One of its networks sleeps in training."""

import time

import torch.nn as nn

from searchitect import OUTPUTS, Space, lazy, one_of

L = lazy(nn)


class Sleepy(nn.Module):
    """Takes so many seconds for a batch in training; a probe of one or two rows takes no time."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        if self.training and len(x) > 4:
            time.sleep(self.seconds)
        return x


def network(seconds):
    return L.Sequential(L.Flatten(), L.LazyLinear(one_of(8, 16, 32)), lazy(Sleepy)(seconds), L.LazyLinear(OUTPUTS))


space = Space(network(0.02))  # a step of 20 ms


def make():
    """The network to beat."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
