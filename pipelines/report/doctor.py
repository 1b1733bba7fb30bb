"""What works on this machine: companion libraries, GPUs, threads and known traps.

Each library is imported and used once, since some install and pass every check but fail, hang or abort on first use.
Those of one family share a process; whichever does not work there is tried again in one of its own, so that it is never
blamed for another. Nothing heavy is loaded here.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from pipelines.report._doctor_probes import PROBES, Library, Probe, installed_version
from pipelines.report.progress import progress
from pipelines.report.tables import show
from pipelines.runtime._lanes import cores

SECONDS_PER_LIBRARY = 120.0
_MARK, _ERROR = "doctor-facts:", "doctor-error:"
# an error's first lines say what it is, its last ones may be a library's list of arguments
_TOLD = f"""import json, sys
sys.excepthook = lambda kind, error, _: print(
    "\\n{_ERROR}" + json.dumps(f"{{kind.__name__}}: {{error}}".rstrip(": ")), file=sys.stderr, flush=True)"""


@dataclass(frozen=True)
class Report:
    """Everything `pipelines doctor` tells."""

    python: str
    machine: str
    libraries: tuple[Library, ...]
    settings: Mapping[str, str]
    traps: tuple[str, ...]

    def library(self, distribution: str) -> Library:
        """The library with that distribution name."""
        return next(found for found in self.libraries if found.title == distribution)

    def frameworks(self) -> tuple[str, ...]:
        """The frameworks a config can be run on here."""
        return tuple(name for name in ("torch", "tensorflow") if self.library(name).state == "works")

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    def show(self) -> None:
        """Print the report to stdout."""
        show([self])

    def __rich__(self) -> RenderableType:
        columns = ("library", "version", "state", "why not, and what cannot be done", "used instead", "numbers")
        libraries = Table(title="Companion libraries")
        for column in columns:
            libraries.add_column(column, no_wrap=column in ("library", "version", "state"))
        for found in self.libraries:
            works = found.state == "works"
            colour = "green" if works else "yellow" if found.instead else "red"
            words = "" if works else "; ".join(filter(None, (found.reason, found.without)))
            instead = ("", "") if works else (found.instead or "nothing", "the same" if found.instead else "none")
            state = f"[{colour}]{found.state}[/]"
            libraries.add_row(found.title, found.version, state, escape(words), *map(escape, instead))
        settings = Table("setting", "value", title="Machine")
        settings.add_row("Python", escape(self.python))
        settings.add_row("system", escape(self.machine))
        for name, value in self.settings.items():
            settings.add_row(name, escape(value))
        lines = [f"- {escape(trap)}" for trap in self.traps]
        return Group(libraries, settings, *(["Known traps that apply here:", *lines] if lines else []))


def doctor(seconds: float = SECONDS_PER_LIBRARY) -> Report:
    """Try every library, each for at most `seconds` (once more where it hangs beside others), and report what works."""
    families: dict[str, list[Probe]] = {}
    for probe in PROBES:
        families.setdefault(probe.family, []).append(probe)
    with (
        progress("try the libraries", len(PROBES), unit="libraries") as watch,
        ThreadPoolExecutor(max_workers=max(1, min(len(families), cores()))) as pool,
    ):
        interrupted = threading.Event()

        def told(libraries: int) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt
            watch(libraries)

        tried = [pool.submit(try_family, probes, seconds, told) for probes in families.values()]
        try:
            found = {library.title: library for part in tried for library in part.result()}
        except BaseException:
            interrupted.set()  # else the pool would go on to the last library
            raise
    libraries = tuple(found[probe.title] for probe in PROBES)
    return Report(
        python=f"{platform.python_version()} at {sys.executable}",
        machine=f"{platform.system()} {platform.release()} {platform.machine()}",
        libraries=libraries,
        settings=_settings(libraries),
        traps=known_traps({found.distribution: found.version for found in libraries if found.version}),
    )


def try_family(probes: Sequence[Probe], seconds: float, watch: Callable[[int], None]) -> list[Library]:
    """Use the libraries one after the other in one process, and alone those that do not work there.

    Where one ends the process, or keeps it for `seconds`, those behind it go on in another.
    """
    found = {}
    left = [probe for probe in probes if installed_version(probe.distribution)]
    while left:
        told = dict(_marked(_python("import json\n" + "\n".join(map(_in_family, left)), seconds).out))
        tried = left[: len(told) + 1]  # those that told, and the one that did not come to it
        left = left[len(tried) :]
        for probe in tried:
            facts = told.get(probe.title)
            found[probe.title] = try_library(probe, seconds) if facts is None else probe.found("works", facts=facts)
            watch(1)
    for probe in probes:
        if probe.title not in found:
            found[probe.title] = try_library(probe, seconds)
            watch(1)
    return [found[probe.title] for probe in probes]


def try_library(probe: Probe, seconds: float) -> Library:
    """Import and use one library in a process of its own."""
    if not installed_version(probe.distribution):
        return probe.found("missing", "not installed")
    ended = _python(f"{_TOLD}\nfacts = {{}}\n{probe.use}\n{_mark(probe, 'facts')}", seconds)
    if ended.code is None:
        return probe.found("fails", f"no answer within {seconds:g} s")
    told = _marked(ended.out)
    if ended.code == 0 and told:
        return probe.found("works", facts=told[-1][1])
    if ended.code < 0:
        return probe.found("fails", f"the process was ended by signal {-ended.code}")
    said = [line.partition(_ERROR)[2] for line in ended.err.splitlines() if line.startswith(_ERROR)]
    lines = _plain(json.loads(said[-1]))[:2] if said else _plain(ended.err)[-1:]
    return probe.found("fails", " ".join(lines)[:400] or f"ended with exit code {ended.code}")


def _mark(probe: Probe, facts: str) -> str:
    """The Python that tells what the variable `facts` holds, on a line of its own whatever was printed before."""
    return f"print('\\n' + {_MARK!r} + json.dumps([{probe.title!r}, {facts}]), flush=True)"


def _in_family(probe: Probe) -> str:
    """The Python that uses one library and goes on if that fails; it tells None then."""
    use = f"    exec({probe.use!r}, held)\nexcept (Exception, SystemExit):\n    held['facts'] = None"
    return f"held = {{'facts': {{}}}}\ntry:\n{use}\n{_mark(probe, 'held[' + repr('facts') + ']')}"


def _marked(out: str) -> list[tuple[str, dict[str, object] | None]]:
    """What marked lines tell: titles, and facts of what works."""
    lines = [line for line in out.splitlines() if line.startswith(_MARK)]
    return [(title, facts) for title, facts in (json.loads(line.removeprefix(_MARK)) for line in lines)]


class _Ended(NamedTuple):
    """A process: its exit code, None if it was ended for taking too long, and what it said."""

    code: int | None
    out: str
    err: str


def _python(program: str, seconds: float) -> _Ended:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # pipes would wait for children left behind
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        code: int | None = None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for file in (out, err):
            file.seek(0)
        return _Ended(code, *(file.read().decode("utf-8", "replace") for file in (out, err)))


def _plain(text: str) -> list[str]:
    """The lines of a text that are not empty, without colours."""
    return [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines() if line.strip()]


def _settings(libraries: tuple[Library, ...]) -> dict[str, str]:
    settings = {"cores this process may use": str(cores())}
    for found in libraries:
        if "threads" in found.facts:
            settings[f"threads of {found.distribution}"] = str(found.facts["threads"])
        gpus = found.facts.get("gpus")
        if isinstance(gpus, list):
            settings[f"GPUs that {found.distribution} sees"] = ", ".join(map(str, gpus)) or "none"
        if "memory" in found.facts:
            settings[f"GPU memory of {found.distribution}"] = str(found.facts["memory"])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            settings[name] = os.environ[name]
    return settings


def known_traps(versions: Mapping[str, str], python: tuple[int, int] = sys.version_info[:2]) -> tuple[str, ...]:
    """Traps that apply to these versions: combinations that install but fail, or run but surprise."""
    held = {name: _numbers(version) for name, version in versions.items()}
    for name in ("numpy", "protobuf", "tensorflow-metadata", "triton"):
        if name not in held and (version := installed_version(name)):
            held[name] = _numbers(version)
    traps = []
    if held.get("torch", (9,)) < (2, 4) and held.get("numpy", ()) >= (2,):
        traps.append("torch before 2.4 cannot share memory with NumPy 2: install numpy<2")
    if held.get("tensorflow", (9,)) < (2, 17) and held.get("protobuf", ()) >= (5,):
        traps.append("tensorflow before 2.17 needs protobuf<5")
    if held.get("tensorflow-metadata", ()) >= (1, 18) and (0,) < held.get("protobuf", ()) < (6, 31, 1):
        traps.append("tensorflow-metadata after 1.17 needs protobuf 6.31, or tensorflow-datasets fails: use 1.17.3")
    if "tensorflow" in held and python >= (3, 12) and "tensorflow-text" not in held:
        traps.append("tensorflow-text and keras-hub have no build of this stack for Python 3.12: use 3.10 or 3.11")
    traps += _misfits(versions, held)
    if {"torch", "tensorflow", "triton"} <= held.keys() and held["triton"] >= (3,):
        traps.append(
            "in a process that has loaded TensorFlow, loading torchvision ends the process (triton finds TensorFlow's "
            "LLVM): import torchvision first; pipelines, as_torch and compare see to it themselves"
        )
    if "tensorflow" in held:
        traps.append("a process that is forked after TensorFlow has worked hangs: give a DataLoader no fork workers")
    return tuple(traps)


_Version = tuple[int, ...]
_FITS: tuple[
    tuple[str, str, Callable[[_Version, _Version], bool], str], ...
] = (  # a companion, the framework it is built for, the versions of both that fit, what follows otherwise
    ("torchtext", "torch", lambda own, its: its[:2] == (2, own[1] - 15), "text steps use tokenizers and Python"),
    ("tensorflow-io", "tensorflow", lambda own, its: its[:2] == (2, own[1] - 21), "audio.decode uses soundfile"),
    ("tensorflow-text", "tensorflow", lambda own, its: own[:2] == its[:2], "text.wordpiece uses tokenizers"),
)


def _misfits(versions: Mapping[str, str], held: Mapping[str, _Version]) -> list[str]:
    """Companion libraries that are built for another version of their framework than the one here."""
    return [
        f"{name} {versions[name]} is not built for {framework} {versions[framework]}; {instead} instead, "
        "with the same numbers"
        for name, framework, fits, instead in _FITS
        if name in versions and framework in versions and not fits(held[name], held[framework])
    ]


def _numbers(version: str) -> _Version:
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())
