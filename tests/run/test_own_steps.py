"""Steps that other packages announce: the package of docs/own_steps.md, put in a folder, and packages at fault."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.catalog import announced_step_names, find_step
from pipelines.cli import app
from pipelines.config import json_schema, read_config
from pipelines.contract import check_step
from pipelines.errors import SpecError, UserError
from pipelines.pipeline import Pipeline, load
from pipelines.plan import compile_plan
from pipelines.report.compare import compare
from pipelines.run import run
from pipelines.spec import waveform
from pipelines.step import Identical, Step

PAGE = (Path(__file__).parents[2] / "docs" / "own_steps.md").read_text(encoding="utf-8")
Install = Callable[..., None]

TORCH_ONLY = """
from pipelines.spec import Spec, waveform
from pipelines.step import Example, Identical, Kernel, Step

class Alone(Step):
    '''Turns a waveform over, in one framework.'''
    agreement = Identical("a negation")
    examples = (Example(waveform(16000)),)

    def out_spec(self, x: Spec) -> Spec:
        x.need(("float32",), last=("time",))
        return x

    def bind_torch(self, x: Spec) -> Kernel:
        return lambda wave: -wave
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package and what it announces into a folder on the path, as an installer does."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), inherited])))
    before = set(sys.modules)

    def put(package: str, announces: str, files: dict[str, str]) -> None:
        info = site / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pipelines.steps]\n{announces}\n")
        for name, text in files.items():
            (site / name).parent.mkdir(exist_ok=True)
            (site / name).write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        from pipelines import announced

        announced._announced.cache_clear()

    yield put
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]


@pytest.fixture
def mine(install: Install) -> None:
    name, value = re.findall(r'^"(mine\.\w+)" = "([\w.:]+)"', blocks("toml")[0], re.MULTILINE)[0]
    install(
        "mine-steps",
        f"{name} = {value}",
        {"mine_steps/__init__.py": "", "mine_steps/soft_clip.py": blocks("python")[0]},
    )


@pytest.fixture
def document(tmp_path: Path, sample_set: Path) -> Path:
    """The page's config, beside sounds."""
    folder = next(p.parent for p in sorted(sample_set.rglob("*.wav")))
    path = tmp_path / "mine.yaml"
    path.write_text(blocks("yaml")[0].replace("path: sounds", f"path: {folder}"), encoding="utf-8")
    return path


def waves(pipe: Pipeline) -> list[Any]:
    return [record["wave"] for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]


@pytest.mark.usefixtures("mine")
def test_the_page_holds(document: Path, tmp_path: Path) -> None:
    """The package of the page passes its own test, runs on both frameworks, and is found by name alone."""
    read_config(document)
    names: dict[str, Any] = {}
    exec(blocks("python")[1], names)  # our own words
    names["test_soft_clip"]()
    torch, tensorflow = (load(document, framework=f, device="cpu", threads=1) for f in ("torch", "tensorflow"))
    plain = load(
        document, framework="torch", device="cpu", threads=1, overrides=("fields.wave.steps.2=audio.gain: {db: 0}",)
    )
    for a, b, before in zip(*map(waves, (torch, tensorflow, plain)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)  # what the step's agreement allows
        np.testing.assert_allclose(a, np.tanh(3.0 * before), atol=1e-6)  # float32 against NumPy's
    assert torch.engine.chains["wave"].field.nodes[-1].step.step_name() == "mine.soft_clip"
    run(torch, output=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["header"]["versions"]["mine-steps"] == "1.0"


@pytest.mark.usefixtures("mine")
def test_its_faults_are_told_like_any_other(document: Path) -> None:
    given = ('fields.wave.steps.2={"mine.soft_clip": {drive: -1}}',)
    wrong = [fault.message for fault in read_config(document, given).faults]
    assert wrong == ["drive=-1 must be > 0"]
    near = read_config(document, ("fields.wave.steps.2=mine.soft_klip",)).faults
    assert "unknown step 'mine.soft_klip'; did you mean 'mine.soft_clip'?" in near[0].message


@pytest.mark.usefixtures("mine")
def test_it_is_listed_and_in_the_schema() -> None:
    listed = CliRunner().invoke(app, ["steps"], env={"COLUMNS": "200"}).output
    assert "Holds down the loud parts of a waveform. (mine-steps 1.0 (mine_steps.soft_clip:SoftClip))" in listed
    assert "tanh(drive x)" in CliRunner().invoke(app, ["steps", "mine.soft_clip"]).output
    schema = json_schema()
    assert schema["$defs"]["steps.mine.soft_clip"]["properties"]["drive"]["exclusiveMinimum"] == 0
    assert "mine.soft_clip" in schema["$defs"]["step"]["anyOf"][0]["enum"]


def test_only_what_a_config_names_is_imported(mine: None, install: Install, document: Path) -> None:
    """A package that would fail, and one that nobody names, are not touched."""
    install("other-steps", "other.crash = other_steps:Crash", {"other_steps/__init__.py": "raise RuntimeError('boom')"})
    text = document.read_text().replace("      - mine.soft_clip: {drive: 3.0}\n", "")
    document.write_text(text)
    code = (
        "import sys; from pipelines.config import read_config; from pipelines.plan import compile_plan; "
        f"compile_plan(read_config({str(document)!r})); print(sorted(m for m in sys.modules if m.endswith('_steps')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    broken = read_config(document, ("fields.wave.steps.1=other.crash",)).faults
    assert broken[0].message == (
        "step 'other.crash' of other-steps 1.0 (other_steps:Crash) cannot be loaded: RuntimeError: boom"
    )
    assert "steps.other.crash" not in json_schema()["$defs"]
    assert "cannot be loaded: RuntimeError: boom" in CliRunner().invoke(app, ["steps"], env={"COLUMNS": "200"}).output


def test_who_is_at_fault_is_said(mine: None, install: Install) -> None:
    step = {"a_steps.py": "class NoStep: pass"}
    install(
        "a-steps",
        "mine.soft_clip = a_steps:X\nmine.none = a_steps:NoStep\naudio.own = a_steps:X\nOdd = a_steps:X",
        step,
    )
    install("b-steps", "audio.mel = a_steps:X", {})
    for name, said in {
        "mine.soft_clip": r"announced by a-steps 1.0 \(a_steps:X\) and mine-steps 1.0",
        "mine.none": r"a-steps 1.0 \(a_steps:NoStep\): expected a class derived from pipelines.step.Step",
        "audio.own": r"a-steps 1.0 .*names that begin with audio, text, image, label are not free",
        "Odd": r"expected a name of two parts in lower case, like 'mine.sharpen'",
    }.items():
        with pytest.raises(UserError, match=said):
            find_step(name)
    assert find_step("audio.mel").__module__ == "pipelines.audio.mel"  # the toolkit's own cannot be replaced
    assert "audio.mel" not in announced_step_names()


def test_one_binding_marks_the_config(install: Install, document: Path) -> None:
    install("alone-steps", "mine.alone = alone_steps:Alone", {"alone_steps.py": TORCH_ONLY})
    check_step(find_step("mine.alone"))
    with_it = ("fields.wave.steps.2=mine.alone",)
    plan, _ = compile_plan(read_config(document, with_it))
    assert plan.one_framework == ("wave: mine.alone runs on torch only, since it has no binding for the other",)
    with pytest.raises(UserError, match=r"mine\.alone runs on torch only"):
        load(document, framework="tensorflow", overrides=with_it)
    with pytest.raises(UserError, match=r"mine\.alone runs on torch only.*so there is nothing to compare"):
        compare(document, with_it)


def test_a_step_that_lies_does_not_pass(install: Install) -> None:
    lying = TORCH_ONLY.replace("return x\n", "return x.but(range=(0.0, 1.0))\n")
    install("lying-steps", "mine.lying = lying_steps:Alone", {"lying_steps.py": lying})
    with pytest.raises(AssertionError, match="Alone, example 0: record 0: expected values in"):
        check_step(find_step("mine.lying"))


def test_a_changed_step_is_never_served_from_the_cache(install: Install, document: Path, tmp_path: Path) -> None:
    install("alone-steps", "mine.alone = alone_steps:Alone", {"alone_steps.py": TORCH_ONLY})
    options: dict[str, Any] = {
        "framework": "torch",
        "device": "cpu",
        "threads": 1,
        "limit": 2,
        "overrides": ("fields.wave.steps.2=mine.alone", f"cache={{path: {tmp_path / 'kept'}}}"),
    }
    before = waves(load(document, **options))
    sys.modules.pop("alone_steps")
    file = tmp_path / "site" / "alone_steps.py"
    file.write_text(TORCH_ONLY.replace("-wave", "3 * wave"))
    os.utime(file, (1, 1))  # so that no compiled file of the same second is taken for it
    after = waves(load(document, **options))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(b, -3 * a)


def test_a_class_that_lacks_a_part_says_which() -> None:
    class Bare(Step):
        """Has nothing."""

        agreement = Identical("it does nothing")

    for part, call in (
        ("out_spec", lambda: Bare().out_spec(waveform(16000))),
        ("bind_torch", lambda: Bare().bind("torch", waveform(16000))),
        ("bind_tensorflow", lambda: Bare().bind("tensorflow", waveform(16000))),
    ):
        with pytest.raises(SpecError, match=f"Bare .* its class has no {part}"):
            call()
