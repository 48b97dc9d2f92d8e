"""What tells one function of the user's from another: a number that changes with its code or with what it holds.

It is made of the compiled code (a comment changes nothing), the name, defaults, what a closure has caught, and the
globals that the code reads: numbers and texts, tensors and arrays, lists and mappings, modules of torch by settings and
tensors, functions, classes and objects of the user's, each looked into in the same way. So two lambdas on one line
differ, and so do two functions that one factory made with other numbers. A function of an installed library counts by
its name and its own code, a class by its name, any other object of a library by its type.

Where we differ from a hash of the source text: that one takes all functions of a factory, all partials and all loss
modules of one class for the same. What cannot be seen: code that is reached only through a module (`mine.helper(x)`),
and the state of a library's objects. Another version of Python compiles to other code, which counts as changed.

Shapes: tensors of any shape. Costs a pass over the tensors and arrays that are held.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Mapping, Set
from enum import Enum
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from searchitect.seeds import derive

_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
_LIBRARIES = tuple({str(Path(sysconfig.get_path("stdlib"))), str(Path(__file__).parents[1]), "<frozen"})
_NAMED = (torch.dtype, torch.device, torch.memory_format, np.generic, np.dtype)
_CODE = (
    "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_posonlyargcount",
    "co_kwonlyargcount", "co_flags", "co_exceptiontable",
)  # fmt: skip
_PARTS = ("_parameters", "_buffers", "_modules")  # of a module; what else begins with "_" is torch's own


def identity(thing: Any) -> int:
    """The same number for the same code and the same held values, in every process of one version of Python."""
    return derive(0, _of(thing, {}).hex())


def tensor_identity(tensor: Tensor) -> int:
    """The same number for the same values, type and shape."""
    return derive(0, _tensor(tensor).hex())


def _hash(what: str, parts: Iterable[bytes]) -> bytes:
    digest = blake2b(what.encode(), digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _of(thing: Any, seen: dict[int, tuple[int, Any]]) -> bytes:
    """`seen` are the things looked into until now, by `id`: their number, and themselves, so that none goes away."""
    if isinstance(thing, _PLAIN):
        return _hash(type(thing).__name__, [repr(thing).encode()])
    if isinstance(thing, Tensor):
        return _tensor(thing)
    if isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        return _hash(f"array {thing.dtype.str} {thing.shape}", [np.ascontiguousarray(thing).tobytes()])
    if isinstance(thing, CodeType):
        constants = [_of(one, seen) for one in thing.co_consts]
        return _hash("code", [*(repr(getattr(thing, name)).encode() for name in _CODE), *constants])
    if isinstance(thing, (ModuleType, BuiltinFunctionType)):
        return _hash("named", [thing.__name__.encode()])
    if isinstance(thing, (*_NAMED, Enum)):
        return _hash(type(thing).__qualname__, [repr(thing).encode()])
    if isinstance(thing, tuple):  # never "again": equal ones may be one object in one process and two in another
        return _hash(type(thing).__name__, [_of(one, seen) for one in thing])
    if isinstance(thing, Set):
        return _hash("set", sorted(_of(one, dict(seen)) for one in thing))
    if id(thing) in seen:
        return _hash("again", [str(seen[id(thing)][0]).encode()])
    seen[id(thing)] = (len(seen), thing)
    what, parts = _parts(thing)
    return _hash(what, [_of(part, seen) for part in parts])


def _tensor(tensor: Tensor) -> bytes:
    what = f"tensor {tensor.dtype} {tuple(tensor.shape)}"
    if tensor.layout != torch.strided or tensor.is_meta:
        return _hash(what, [])
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return _hash(what, [plain.view(torch.uint8).numpy().tobytes()])


def _parts(thing: Any) -> tuple[str, Iterable[Any]]:
    """What a thing is called and what it is made of, for all that is made of other things."""
    if isinstance(thing, list):
        return "list", thing
    if isinstance(thing, Mapping):
        keys = sorted(thing, key=lambda key: _of(key, {}))
        return "mapping", _flat((key, thing[key]) for key in keys)
    if isinstance(thing, partial):
        return "partial", (thing.func, thing.args, thing.keywords)
    if isinstance(thing, MethodType):
        return "method", (thing.__func__, thing.__self__)
    if isinstance(thing, FunctionType):
        return _function(thing)
    if isinstance(thing, type):
        return _class(thing)
    if isinstance(thing, property):
        return "property", (thing.fget, thing.fset, thing.fdel)
    wrapped = getattr(thing, "__wrapped__", None)  # static and class methods, functions with a cache
    return _object(thing) if wrapped is None else (type(thing).__qualname__, (wrapped,))


def _flat(pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [one for pair in pairs for one in pair]


def _function(function: FunctionType) -> tuple[str, Iterable[Any]]:
    code, caught = function.__code__, _caught(function)
    if _of_library(code.co_filename):
        return f"function {function.__module__}.{function.__qualname__}", (code, caught)
    known = function.__globals__
    read = _flat((name, known[name]) for name in sorted(_names(code)) if name in known)
    return f"function {function.__qualname__}", (code, function.__defaults__, function.__kwdefaults__, caught, read)


def _caught(function: FunctionType) -> list[Any]:
    """The values that a closure holds; a name that was not set yet is left out."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    return found


def _names(code: CodeType) -> set[str]:
    """What the code and the functions within it may read from the module."""
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*inner)


def _class(cls: type) -> tuple[str, Iterable[Any]]:
    if _of_library(_file(cls)):
        return f"class {cls.__module__}.{cls.__qualname__}", ()
    own = {n: v for n, v in vars(cls).items() if not n.startswith("__") or isinstance(v, FunctionType)}
    return f"class {cls.__qualname__}", (cls.__bases__, _flat((n, own[n]) for n in sorted(own)))


def _object(thing: Any) -> tuple[str, Iterable[Any]]:
    held = getattr(thing, "__dict__", {})
    if isinstance(thing, nn.Module):
        held = {name: value for name, value in held.items() if not name.startswith("_") or name in _PARTS}
    elif _of_library(_file(type(thing))):
        held = {}
    written = [cls for cls in type(thing).__mro__ if not _of_library(_file(cls))]
    slots = [name for cls in written for name in vars(cls).get("__slots__", ()) if hasattr(thing, name)]
    names = sorted(held)
    return "object", (type(thing), _flat((n, held[n]) for n in names), _flat((n, getattr(thing, n)) for n in slots))


def _file(cls: type) -> str:
    """Where a class was written; nothing for one of a script, or of a process that is gone."""
    code = next((v.__code__ for v in vars(cls).values() if isinstance(v, FunctionType)), None)
    found = getattr(sys.modules.get(cls.__module__), "__file__", None) if code is None else code.co_filename
    return found or ("<frozen" if cls.__module__ == "builtins" else "")


def _of_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or "site-packages" in file or "dist-packages" in file
