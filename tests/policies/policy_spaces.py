"""Small spaces on which everything about a policy can be enumerated."""

import numpy as np

from searchitect.policies import make_policy
from searchitect.seeds import stream
from searchitect.space import Layer, Space, integer, named, one_of, real, repeat

SMALL = {"factorised": {}, "lstm": {"hidden": 6}}  # options


def uneven(name, space, seed=0, scale=1.0, **more):
    """A policy whose parameters are far from its start."""
    policy = make_policy(name, space, seed, {**SMALL[name], **more})
    draws, shot = stream(seed, 0, "shake"), policy.snapshot()
    policy.restore(
        {
            k: v if k.startswith("adam") else np.array([scale * draws.normal() for _ in range(v.size)]).reshape(v.shape)
            for k, v in shot.items()
        }
    )
    return policy


def flat_space():
    return Space(Layer("toy.Net", {"a": one_of(1, 2, 3), "b": one_of("x", "y"), "c": one_of(0.1, 0.2, 0.3, 0.4)}))


def conditional_space():
    """One or two blocks with decisions of their own and a width tied between them: 72 architectures."""
    width = one_of(8, 16, name="width")

    def block():
        return named(
            "part",
            one_of(
                conv=Layer("toy.Conv", {"kernel": one_of(1, 3, 5), "width": width}),
                pool=Layer("toy.Pool", {"size": integer(2, 3)}),
                skip=Layer("toy.Skip", {}),
            ),
        )

    return Space(Layer("toy.Net", {"blocks": repeat(block, 1, 2)}))


def shared_space():
    """A decision that two others may bring in: active by either, drawn once."""
    rate = one_of(1, 2, 3, name="rate")

    def part():
        return one_of(on=Layer("toy.On", {"rate": rate}), off=Layer("toy.Off", {}))

    return Space(Layer("toy.Net", {"first": named("first", part()), "second": named("second", part())}))


def numbers_space():
    """Ranges longer than 64, even and on a log scale, a Float and a log Float."""
    parts = {
        "long": integer(10, 209), "wide": integer(1, 1000, log=True), "stepped": integer(0, 700, 7),
        "few": integer(1, 4), "rate": real(0.0, 0.5), "decay": real(1e-5, 1e-1, log=True),
    }  # fmt: skip
    return Space(Layer("toy.Net", parts))


def long_space():
    """As `numbers_space`, without Floats and small enough to enumerate."""
    return Space(Layer("toy.Net", {"long": integer(10, 109), "wide": integer(1, 80, log=True)}))
