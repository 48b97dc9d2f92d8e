"""Tasks that harm the process they run in. A module of its own, so that workers can import it quickly."""

import ctypes
import os
import signal
import subprocess
import sys
import time


def evil(payload, context):
    return globals()[payload["do"]](payload, context)


def fine(payload, context):
    time.sleep(payload.get("seconds", 0.0))
    return {"value": payload.get("value"), "pid": os.getpid()}


def exit_now(payload, context):
    os._exit(payload["code"])


def signal_self(payload, context):
    os.kill(os.getpid(), payload["signal"])
    time.sleep(5.0)


def crash(payload, context):
    ctypes.string_at(0)


def eat(payload, context):
    held = [bytearray(1_000_000) for _ in range(payload["mb"])]
    for block in held:
        block[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(block[:: os.sysconf("SC_PAGE_SIZE")])
    context.report({"eaten": len(held)})
    time.sleep(payload.get("seconds", 0.0))
    return {"mb": len(held)}


def eat_with_torch(payload, context):
    import torch

    return {"sum": float(torch.ones(payload["mb"] * 250_000).sum())}


def hang(payload, context):
    context.report({"hanging": True})
    if payload["how"] == "python":
        while True:
            pass
    ctypes.PyDLL(None).sleep(60)  # in C, holding the interpreter's lock


def leave_children(payload, context):
    """A child, a grandchild in a session of its own, and an orphan."""
    code = """import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
    subprocess.Popen([sys.executable, "-c", code])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(0.4)
    context.report({"ready": True})
    time.sleep(payload.get("seconds", 0.0))
    return {"pid": os.getpid()}


def count(payload, context):
    """Write how often it was able to run into a file."""
    end = time.monotonic() + payload["seconds"]
    turns = 0
    with open(payload["file"], "w") as file:
        while time.monotonic() < end and not context.should_stop():
            turns += 1
            file.seek(0)
            file.write(str(turns))
            file.flush()
            time.sleep(0.005)
    return {"turns": turns}


def flood(payload, context):
    for _ in range(payload["mb"]):
        os.write(1, b"x" * 999_999 + b"\n")
        time.sleep(0.02)
    time.sleep(0.5)
    return {}


def thread(payload, context):
    import threading

    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return {"pid": os.getpid()}


def many_reports(payload, context):
    for n in range(payload["n"]):
        context.report({"n": n, "text": "x" * 1000})
    return {"n": payload["n"]}


def torch_state(payload, context):
    import torch

    before = {"threads": torch.get_num_threads(), "dtype": str(torch.get_default_dtype()), "pid": os.getpid()}
    torch.set_num_threads(7)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    return before | {"grad": torch.is_grad_enabled()}


def train(payload, context):
    """A short training with a loader that has worker processes of its own."""
    import torch

    data = torch.utils.data.TensorDataset(torch.ones(64, 3), torch.ones(64, 1))
    layer = torch.nn.Linear(3, 1)
    for x, y in torch.utils.data.DataLoader(data, batch_size=16, num_workers=payload["loaders"]):
        loss = ((layer(x) - y) ** 2).mean()
        loss.backward()
    return {"loss": float(loss)}


SIGNALS = {name: int(getattr(signal, name)) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGABRT", "SIGSEGV")}
