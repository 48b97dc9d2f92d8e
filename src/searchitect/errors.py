"""What can go wrong, by who must act. A message says what, where, and what to do next.

    SearchitectError                 base of everything raised on purpose
    ├── UsageError                   a wrong option or call                       (exit code 2)
    ├── SpaceError                   the definition of a space is wrong           (exit code 2)
    ├── ArchitectureError            decisions that do not belong to the space    (exit code 2)
    ├── DataError                    the data cannot be used as they are          (exit code 3)
    ├── StorageError                 the study's files                            (exit code 4)
    │   └── StudyLockedError         another process is driving the study
    ├── TrialError                   one trial failed; carries its cause
    │   ├── BuildError               the architecture cannot be built
    │   └── NotFiniteError           loss or metric is NaN or infinite
    └── StudyFailedError             the study cannot go on                       (exit code 1)

Failures of one trial are data in the study; only failures of the study itself are raised to the user.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NO_MEMORY = (
    "can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc", "cannot allocate memory",
    "could not create a primitive",  # what oneDNN says of it
)  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in one of the ways of Python, numpy and torch."""
    if isinstance(error, MemoryError) or any(c.__name__ == "OutOfMemoryError" for c in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


class SearchitectError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(SearchitectError):
    """A wrong option, name or call."""

    exit_code = 2


class SpaceError(SearchitectError):
    """A space cannot be defined as written."""

    exit_code = 2


class ArchitectureError(SearchitectError):
    """Decisions that do not belong to the space, or an architecture file that was refused."""

    exit_code = 2


class DataError(SearchitectError):
    """The data cannot be used as they are."""

    exit_code = 3


class StorageError(SearchitectError):
    """The study's files cannot be read or written."""

    exit_code = 4


class StudyLockedError(StorageError):
    """Another process is driving the study; the message names it."""


class TrialError(SearchitectError):
    """One trial failed. `cause` is the value of a `records.Cause`, as plain text."""

    cause = "user code"


class BuildError(TrialError):
    """An architecture cannot be built; the message names the place in the space."""

    cause = "invalid architecture"


class NotFiniteError(TrialError):
    """A loss or a metric became NaN or infinite."""

    cause = "not finite"


class StudyFailedError(SearchitectError):
    """The study cannot go on (for example the first three trials failed alike)."""


def meant(name: str, known: Iterable[str]) -> str:
    """For a message: the nearest of the known names as " (did you mean 'darts'?)"; nothing where none is near."""
    near = difflib.get_close_matches(str(name).lower().replace("_", "-"), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
