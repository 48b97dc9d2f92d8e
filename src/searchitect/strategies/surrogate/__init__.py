"""Parts that model-based strategies share: what a model sees, from what it learns, what it may choose among.

    graphs.canonical_graph(space, architecture)   the canonical network as labelled operations, with its key
    features.Features(space).of(architecture)     numbers: equal keys give equal numbers (`Described`)
    targets.Told(objectives)                      a fold over told trials: losses, limits, failures, by architecture
    targets.warp, targets.scalarise               one number to model from one or several goals
    archive.Archive                               the same by network: equivalents are one entry, proposals included
    candidates.mutants, candidates.strangers      feasible architectures not proposed yet, near good ones or anywhere
    candidates.Pool                               candidates kept from one proposal to the next, no two equivalent
    acquisition.expected_improvement, ...         how promising a candidate is, from mean and deviation
    regression.Process                            a Gaussian process that grows by rows, its candidates kept up to date
    prior.ScorePrior                              a prior mean of the process, made from scores
    fitting.fit                                   parameters of its covariance by marginal likelihood
    feasibility.log_probability                   how likely limits are kept and nothing fails
    threads.one_thread                            linear algebra on one thread while a proposal is made

Numpy and scipy only. Nothing here keeps a generator or a clock: draws come as `seeds.Stream`, state is a fold.
"""
