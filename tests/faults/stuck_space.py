"""A user's own space whose networks never end a step."""

from slow_space import network

from searchitect import Space

space = Space(network(600.0))
