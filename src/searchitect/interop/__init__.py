"""What works together with other libraries: training with Lightning or Accelerate, Optuna's pictures, loggers.

Each file needs a library of its own (an extra of this package) and is imported only by who asks for it; nothing else
in the package imports this folder.
"""
