"""The source of classes and functions, with all that they need, as one section of a new file.

A class is taken out of its file together with the statements that bind the names it uses, and so on; imports of
installed packages stay imports, names from files that are not installed (and from this package) are taken along.
Nothing else of a file comes with it: no script's main part is ever copied or run.
"""

from __future__ import annotations

import ast
import builtins
import importlib.metadata
import importlib.util
import inspect
import linecache
import sys
import textwrap
from functools import cache
from types import ModuleType
from typing import Any

OWN = "searchitect"


class Collected:
    """What `add` has gathered: `imports`, `bodies` in an order in which they can run, `packages`, `notes`."""

    def __init__(self) -> None:
        self.imports: dict[str, None] = {}
        self.bodies: list[str] = []
        self.packages: set[str] = set()
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}  # name → why its source is not there
        self._open: set[str] = set()  # being added: what needs itself is added once
        self._owner: dict[str, Any] = {}  # name → the statement (or import) that binds it here
        self._files: dict[str, _File] = {}

    def add(self, thing: Any) -> str:
        """Take a class or function and what it needs; returns the name it has in the section."""
        name: str = thing.__qualname__.rpartition("<locals>.")[2]
        first = name.split(".")[0]
        if first in self._owner or first in self._open:
            return name
        file = self._file(thing)
        self._open.add(first)
        if file is None:
            self._owner[first] = None
            self.missing[first] = f"{thing.__module__}.{thing.__qualname__}"
        elif "<locals>" in thing.__qualname__:
            self._inner(thing, first, file)
        elif not self._bind(first, file):
            self.missing[first] = f"{thing.__module__}.{thing.__qualname__}"
        return name

    def text(self) -> str:
        """The section: imports, then bodies."""
        return "\n".join(self.imports) + "\n\n\n" + "\n\n\n".join(self.bodies) + "\n"

    def _file(self, thing: Any) -> _File | None:
        place = _source_place(thing)
        if place not in self._files:
            text = "".join(linecache.getlines(place)) if place else ""
            try:
                self._files[place] = _File(text, sys.modules.get(thing.__module__), _globals(thing))
            except SyntaxError:
                return None
        return self._files[place] if self._files[place].text else None

    def _inner(self, thing: Any, name: str, file: _File) -> None:
        """A class made inside a function: its own text, without what the function around it holds."""
        self._owner[name] = thing
        try:
            body = textwrap.dedent(inspect.getsource(thing)).rstrip()
        except (OSError, TypeError):
            self.missing[name] = f"{thing.__module__}.{thing.__qualname__}"
            return
        self._needs(ast.parse(body), file)
        self.bodies.append(body)

    def _bind(self, name: str, file: _File) -> bool:
        """Make `name` mean here what it means in the file; False when the file does not say."""
        statement = file.bound.get(name)
        if statement is None:
            return self._bind_value(name, file)
        if name in self._owner:
            if self._owner[name] is not statement and not isinstance(statement, (ast.Import, ast.ImportFrom)):
                self.notes.append(f"two different things are called {name!r}; the first one was kept")
            return True
        self._owner[name] = statement
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self._import(name, statement, file)
            return True
        for other in _bound_by(statement):
            self._owner.setdefault(other, statement)
        self._needs(statement, file)
        self.bodies.append(file.source(statement))
        return True

    def _needs(self, statement: ast.AST, file: _File) -> None:
        for name in _used(statement):
            if name not in self._owner and not hasattr(builtins, name):
                self._bind(name, file)

    def _bind_value(self, name: str, file: _File) -> bool:
        """A name that is bound elsewhere, for example in another cell of a notebook."""
        value = file.globals.get(name)
        if name in self._open:
            return False
        if isinstance(value, ModuleType):
            self._owner[name] = value
            self._module(f"import {value.__name__} as {name}", value.__name__)
        elif (inspect.isclass(value) or inspect.isfunction(value)) and value.__name__ == name:
            if is_installed(value.__module__):
                self._owner[name] = value
                self._module(f"from {value.__module__} import {name}", value.__module__)
            else:
                self.add(value)
        return value is not None

    def _import(self, name: str, statement: ast.Import | ast.ImportFrom, file: _File) -> None:
        alias = next(a for a in statement.names if (a.asname or a.name.split(".")[0]) == name)
        if isinstance(statement, ast.Import):
            self._module(ast.unparse(ast.Import([alias])), alias.name)
            return
        home = "." * statement.level + (statement.module or "")
        if statement.level:
            home = importlib.util.resolve_name(home, getattr(file.module, "__package__", None) or "")
        if not is_installed(home):
            thing = getattr(sys.modules.get(home), alias.name, None)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                del self._owner[name]
                found = self.add(thing)
                self._owner[name] = statement
                if found != name:
                    self.bodies.append(f"{name} = {found}")
                return
        self._module(ast.unparse(ast.ImportFrom(home, [alias], 0)), home)

    def _module(self, line: str, home: str) -> None:
        self.imports[line] = None
        top = home.split(".")[0]
        if top in sys.stdlib_module_names:
            return
        if not is_installed(top):
            self.notes.append(f"{line!r}: this file of yours was not copied and must be importable where it is used")
        elif top != "torch":
            self.packages.add(top)


class _File:
    """The top-level statements of a source text and the names that each binds."""

    def __init__(self, text: str, module: ModuleType | None, values: dict[str, Any]) -> None:
        self.text, self.module, self.globals = text, module, values
        self._lines = text.splitlines()
        self.bound: dict[str, ast.stmt] = {}
        for statement in ast.parse(text).body if text else []:
            for name in _bound_by(statement):
                self.bound[name] = statement

    def source(self, statement: ast.stmt) -> str:
        """The statement as it is written, with its decorators."""
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        return "\n".join(self._lines[first - 1 : statement.end_lineno]).rstrip()


def is_installed(module: str) -> bool:
    """Whether a module belongs to Python or to an installed package other than this one."""
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return top != "__main__"
    return top != OWN and top in _distributions()


def requirement(package: str) -> str:
    """The line of requirements.txt for an importable top-level package."""
    names = _distributions().get(package)
    return f"{names[0]}=={importlib.metadata.version(names[0])}" if names else package


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _source_place(thing: Any) -> str:
    """The file (or notebook cell) that holds a class or function, "" when there is none."""
    functions = [thing] if inspect.isfunction(thing) else [f for f in vars(thing).values() if inspect.isfunction(f)]
    places = [f.__code__.co_filename for f in functions if f.__module__ == thing.__module__]
    module_file = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
    readable = [place for place in places if linecache.getlines(place)]
    if readable:
        return module_file if module_file in readable else readable[0]
    if thing.__module__ == "__main__" and places:  # typed at a prompt; the main file is another one
        return ""
    return module_file if linecache.getlines(module_file) else ""


def _globals(thing: Any) -> dict[str, Any]:
    functions = [thing] if inspect.isfunction(thing) else [f for f in vars(thing).values() if inspect.isfunction(f)]
    return functions[0].__globals__ if functions else vars(sys.modules.get(thing.__module__, builtins))


def _bound_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            return []
        return [a.asname or a.name.split(".")[0] for a in statement.names]
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    if isinstance(statement, (ast.If, ast.Try)) and "__name__" not in _used(statement):
        inside = [s for s in ast.walk(statement) if isinstance(s, ast.stmt) and s is not statement]
        return [name for s in inside if not isinstance(s, (ast.If, ast.Try)) for name in _bound_by(s)]
    return []


def _used(statement: ast.AST) -> list[str]:
    return list(dict.fromkeys(n.id for n in ast.walk(statement) if isinstance(n, ast.Name)))
