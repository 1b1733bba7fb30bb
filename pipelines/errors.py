"""Every error the package raises on purpose, and the exit code each means.

PipelineError                     1  internal failure
├── UserError                     2  something the user gave is wrong
│   ├── ConfigError               2  every fault of a config, at once
│   ├── SpecError                 2  a step cannot take what flows into it
│   ├── SourceError               2  a folder, file or column is not there
│   ├── MissingLibrary            2  a framework or companion library is not installed
│   ├── OutputError               2  the output folder cannot be used
│   └── StateError                2  a state or a resume does not fit the config
├── RecordError                   -  one record failed; it is quarantined, the run goes on
├── TooManyFailures               3  more records quarantined than the config allows
└── ParityError                   4  the frameworks disagree
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

ANOTHER_BEGAN = "a later iteration of this pipeline has begun; load a second pipeline to have two at a time"


class PipelineError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UserError(PipelineError):
    """Something the user gave is wrong; the message says what to do."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of a config: where it is and what is wrong there."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ConfigError(UserError):
    """All faults found in a config."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class SpecError(UserError):
    """A step cannot take what flows into it."""


class SourceError(UserError):
    """The records a config names cannot be found or listed."""


class MissingLibrary(UserError):
    """A framework or companion library is not installed. `advice` is what to know of it, or to do instead."""

    def __init__(self, library: str, extra: str, advice: str = "") -> None:
        install = f"{library} is not installed; install it with: pip install 'multimodal-pipelines[{extra}]'"
        super().__init__(f"{install}. {advice}" if advice else install)


class OutputError(UserError):
    """The output folder cannot be used as asked."""


class StateError(UserError):
    """A saved state does not belong to this config."""


class RecordError(PipelineError):
    """A record cannot be processed. Steps raise it with a reason a user understands."""


class TooManyFailures(PipelineError):
    """More records were quarantined than `on_error` allows."""

    exit_code = 3


class ParityError(PipelineError):
    """The two frameworks disagree by more than a step states."""

    exit_code = 4


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
