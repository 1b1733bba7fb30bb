"""The doctor: what it says of libraries that work, fail, abort, hang or are missing."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from rich.console import Console
from stacks import STACK

from pipelines.report._doctor_probes import PROBES, Library, Probe
from pipelines.report.doctor import Report, doctor, known_traps, try_family, try_library


@pytest.mark.parametrize(
    ("use", "state", "reason"),
    [
        ("import pytest\nfacts['threads'] = '3'", "works", ""),
        ("import sys\nsys.stdout.write('half a line')", "works", ""),
        ("import pytest.no_such_part", "fails", "No module named 'pytest.no_such_part'"),
        ("raise ValueError('\\nin\\x1b[1m words\\x1b[0m\\n\\n  of:\\n  - all')", "fails", "ValueError: in words"),
        ("import os\nos.abort()", "fails", "ended by signal 6"),
        ("import os\nos._exit(0)", "fails", "exit code 0"),
        ("import time\ntime.sleep(60)", "fails", "no answer within 2 s"),
    ],
)
def test_a_library_is_tried_in_a_process_of_its_own(use: str, state: str, reason: str) -> None:
    found = try_library(Probe("pytest", use, "neither", "tests do not run"), seconds=2 if "sleep" in use else 60)
    assert found.state == state
    assert reason in found.reason
    assert found.version == pytest.__version__
    assert found.facts == ({"threads": "3"} if "facts" in use else {})


def test_a_missing_library_is_not_tried() -> None:
    found = try_library(Probe("no-such-library", "raise SystemExit(9)", "neither", "nothing happens"), seconds=60)
    assert (found.state, found.version, found.reason) == ("missing", "", "not installed")


def test_a_library_of_a_family_is_never_blamed_for_another() -> None:
    """One that fails beside others but works alone works; one that ends the process takes no other with it."""
    uses = {
        "first": "import sys\nsys.shared = 1\nfacts['threads'] = '3'",
        "alone": "import sys\nassert not hasattr(sys, 'shared')",
        "leaves": "raise SystemExit(1)",
        "aborts": "import os\nos.abort()",
        "last": "facts['gpus'] = []",
    }
    probes = [Probe("pytest", use, "neither", part=part) for part, use in uses.items()]
    watched: list[int] = []
    found = try_family([*probes, Probe("no-such-library", "", "neither")], 60, watched.append)
    states = {library.title.removeprefix("pytest."): library.state for library in found}
    expected = {"first": "works", "alone": "works", "leaves": "fails", "aborts": "fails", "last": "works"}
    assert states == expected | {"no-such-library": "missing"}
    assert "signal 6" in found[3].reason
    assert (found[0].facts, found[4].facts) == ({"threads": "3"}, {"gpus": []})
    assert sum(watched) == 6


def test_a_library_that_hangs_holds_no_other_up_for_long() -> None:
    """Nor does a child that it leaves behind, with its output open."""
    hangs = "import subprocess, time\nsubprocess.Popen(['sleep', '30'])\ntime.sleep(30)"
    uses = {"first": "", "hangs": hangs, "last": "facts['gpus'] = []"}
    probes = [Probe("pytest", use, "neither", part=part) for part, use in uses.items()]
    begin = time.monotonic()
    found = try_family(probes, 2, lambda _: None)
    assert [library.state for library in found] == ["works", "fails", "works"]
    assert found[1].reason == "no answer within 2 s"
    assert time.monotonic() - begin < 15


def test_every_companion_library_of_the_lock_works() -> None:
    report = doctor()
    wrong = {found.title: found.reason for found in report.libraries if found.state != "works"}
    assert {name.replace("-", "_") for name in wrong} == STACK.lacks, wrong
    assert report.frameworks() == ("torch", "tensorflow")
    assert json.loads(json.dumps(report.as_dict()))["libraries"][0]["distribution"] == "torch"
    assert len(report.libraries) == len(PROBES)
    assert {"GPUs that torch sees", "GPUs that tensorflow sees"} <= report.settings.keys()


def test_the_report_shows_what_fails_and_why() -> None:
    broken = Library("torch", "2.3.1", "fails", "libcudart.so [not] found", "the torch framework cannot be used")
    fine = Library("tensorflow", "2.16.2", "works", "", "")
    replaced = Library("tensorflow-io", "0.37.1", "fails", "undefined symbol", "", instead="soundfile")
    report = Report("3.11.7", "Linux", (broken, fine, replaced), {"cores this process may use": "2"}, ("a trap",))
    console = Console(width=200)
    with console.capture() as held:
        console.print(report)
    shown = held.get()
    assert report.frameworks() == ("tensorflow",)
    for words in (
        "libcudart.so [not] found; the torch framework cannot be used",
        "│ the same",
        "cores this process may use",
        "a trap",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("versions", "python", "words"),
    [
        ({"torch": "2.3.1", "numpy": "2.1.0"}, (3, 11), "NumPy 2"),
        ({"tensorflow": "2.16.2", "protobuf": "5.29.0"}, (3, 11), "protobuf<5"),
        ({"tensorflow-metadata": "1.21.0", "protobuf": "5.29.6"}, (3, 11), "use 1.17.3"),
        ({"tensorflow": "2.16.2", "protobuf": "4.25.9"}, (3, 12), "use 3.10 or 3.11"),
        ({"torch": "2.5.1", "torchtext": "0.18.0"}, (3, 11), "torchtext 0.18.0 is not built for torch 2.5.1; text"),
        ({"tensorflow": "2.18.0", "tensorflow-io": "0.37.1"}, (3, 11), "decode uses soundfile instead, with the same"),
        ({"tensorflow": "2.18.0", "tensorflow-text": "2.16.1"}, (3, 11), "wordpiece uses tokenizers instead"),
        ({"torch": "2.14.1", "tensorflow": "2.21.0", "triton": "3.8.0"}, (3, 11), "import torchvision first"),
    ],
)
def test_known_traps_are_told_where_they_apply(versions: dict[str, str], python: tuple[int, int], words: str) -> None:
    assert any(words in trap for trap in known_traps(versions, python))


def test_the_locked_versions_fall_into_none_of_the_version_traps() -> None:
    locked = {"torch": "2.3.1", "tensorflow": "2.16.2", "numpy": "1.26.4", "protobuf": "4.25.9"}
    beside = {"tensorflow-text": "2.16.1", "torchtext": "0.18.0", "tensorflow-io": "0.37.1", "triton": "2.3.1"}
    found = known_traps({**locked, **beside, "tensorflow-metadata": "1.17.3"}, (3, 11))
    assert [trap for trap in found if "fork" not in trap] == []


def test_loading_the_doctor_loads_no_framework() -> None:
    program = "import sys, pipelines.report.doctor; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "pipelines" in loaded
    assert not {"torch", "torchaudio", "torchtext", "tensorflow", "tensorflow_io", "keras"} & set(loaded)
