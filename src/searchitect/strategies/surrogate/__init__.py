"""Parts that model-based strategies share: what a model sees, from what it learns, what it may choose among.

    graphs.canonical_graph(space, architecture)   the canonical network as labelled operations, with its key
    features.Features(space).of(architecture)     numbers: equal keys give equal numbers (`Described`)
    targets.Told(objectives)                      a fold over told trials: losses, limits, failures, by architecture
    targets.warp, targets.scalarise               one number to model from one or several goals
    candidates.mutants, candidates.strangers      feasible architectures not proposed yet, near good ones or anywhere
    acquisition.expected_improvement, ...         how promising a candidate is, from mean and deviation

Numpy and scipy only. Nothing here keeps a generator or a clock: draws come as `seeds.Stream`, state is a fold.
"""
