"""What all tests share: the frameworks under test, the real data, and a cache of their own."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from stacks import STACK

# read by the frameworks when they load, so they stand here, before any test imports one
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
# test processes side by side share the cores, and a thread of OpenMP that waits spins
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
if STACK.name == "current":
    import triton  # noqa: F401  # loaded after TensorFlow it ends the process; the tests load the two in any order

LEFT_OUT: Counter[str] = Counter()
"""How many tests are left out for each library that the stack does not hold."""


@pytest.fixture(scope="session", params=("torch", "tensorflow"))
def framework(request: pytest.FixtureRequest) -> str:
    """Each framework by name. One that cannot be imported is an error: both are named, so both are tested."""
    importlib.import_module(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data that PIPELINES_DATA names."""
    named = os.environ.get("PIPELINES_DATA")
    if not named:
        pytest.fail("set PIPELINES_DATA to the folder of real data (the one that holds SOURCES.md)", pytrace=False)
    folder = Path(named)
    if not (folder / "SOURCES.md").is_file():
        pytest.fail(f"PIPELINES_DATA={named} holds no SOURCES.md, so it is not the folder of real data", pytrace=False)
    return folder.resolve()


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, drawn once, which takes seconds. Only to be read: who changes or adds to them copies them first."""
    from pipelines.samples import make_samples

    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*libraries): left out where the stack under test does not hold them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of what the stack does not hold, or of real data that is not there, are left out and counted."""
    out = set()
    for item in items:
        lacking = {name for mark in item.iter_markers("needs") for name in mark.args} & STACK.lacks
        LEFT_OUT.update(lacking)
        if lacking or ("data" in getattr(item, "fixturenames", ()) and not os.environ.get("PIPELINES_DATA")):
            out.add(item)
    config.hook.pytest_deselected(items=[item for item in items if item in out])
    items[:] = [item for item in items if item not in out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"stack under test: {STACK.name}, without {', '.join(sorted(STACK.lacks)) or 'a gap'}")
    for library, count in sorted(LEFT_OUT.items()):
        terminalreporter.write_line(f"{count} tests of {library} were left out: the stack does not hold it")
    if not os.environ.get("PIPELINES_DATA"):
        terminalreporter.write_line("PIPELINES_DATA is not set: the tests on real data were left out", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches go to a folder of this session, never to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINES_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
