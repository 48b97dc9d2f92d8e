"""Trials that are trained with Hugging Face Accelerate (extra "accelerate").

@with_accelerate
def evaluate(model, trial, accelerator):
    model, optimizer, batches = accelerator.prepare(model, torch.optim.AdamW(model.parameters()), loader())
    ...

study = search(space, evaluate=evaluate, objectives="accuracy", sample=(64,), budget="10m")
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from searchitect.errors import UsageError

try:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
except ImportError as error:
    raise UsageError(f"Accelerate cannot be imported ({error}): pip install 'searchitect[accelerate]'") from error


def with_accelerate(train: Callable[[Any, Any, Accelerator], Any] | None = None, **options: Any) -> Any:
    """Turn `train(model, trial, accelerator)` into a function for `search(space, evaluate=...)`.

    Each trial has an Accelerator of its own on the worker's device, made with `options` (mixed_precision="bf16", ...);
    it is forgotten when the trial ends, so that the next one in the same process may have another. Reporting and
    stopping are the trial's: `trial.report(epoch, accuracy=...)`, `trial.should_stop()`.
    """
    if train is None:
        return partial(with_accelerate, **options)

    def evaluate(model: Any, trial: Any) -> Any:
        AcceleratorState._reset_state(reset_partial_state=True)
        device = torch.device(trial.device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # an Accelerator takes the current one
        accelerator = Accelerator(cpu=device.type == "cpu", project_dir=trial.folder, **options)
        try:
            return train(model, trial, accelerator)
        finally:
            accelerator.free_memory()
            AcceleratorState._reset_state(reset_partial_state=True)

    return evaluate
