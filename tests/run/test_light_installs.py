"""Without a framework, and with one alone: what is absent is not missed; scripts/test_installs does it for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.samples import make_samples

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TORCH = ("torch", "torchaudio", "torchvision", "torchtext", "torchdata")
TENSORFLOW = (
    "tensorflow",
    "tensorflow_io",
    "tensorflow_text",
    "tensorflow_datasets",
    "keras",
    "keras_hub",
)
PROGRAM = """
import json, sys
blocked, commands = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))  # importing one raises ImportError
from pipelines.cli import main
for command in commands:
    sys.argv = ["pipelines", *command]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    print("\\nended with", code, flush=True)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the samples and the configs of the quickstart."""
    folder = tmp_path_factory.mktemp("project")
    make_samples(folder / "out/samples")
    (folder / "configs").mkdir()
    for path in CONFIGS.glob("quickstart_*.yaml"):
        (folder / "configs" / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def pipelines(project: Path, blocked: tuple[str, ...], *commands: str) -> tuple[list[int], str]:
    """Exit codes of the commands in one process that cannot import what is blocked, and all that they said."""
    given = json.dumps([blocked, [command.split() for command in commands]])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, given],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    ends = [line.removeprefix("ended with ") for line in done.stdout.splitlines() if line.startswith("ended with ")]
    assert len(ends) == len(commands), done.stdout
    return list(map(int, ends)), done.stdout


def test_without_any_framework_configs_are_checked_and_steps_and_schema_told(project: Path) -> None:
    names = sorted(path.name for path in (project / "configs").iterdir())
    assert len(names) == 4
    checks = [f"check configs/{name}" for name in names]
    run = "run configs/quickstart_image.yaml --framework torch"
    codes, said = pipelines(project, TORCH + TENSORFLOW, "steps", "schema", *checks, run)
    assert codes == [0, 0, 0, 0, 0, 0, 2], said
    assert "image.rotate" in said
    assert "pip install 'multimodal-pipelines[torch]'" in said


@pytest.mark.parametrize(("framework", "blocked"), [("torch", TENSORFLOW), ("tensorflow", TORCH)])
def test_with_one_framework_alone_its_configs_run(project: Path, framework: str, blocked: tuple[str, ...]) -> None:
    """Nor does it take the companions that only the full stack has."""
    names = sorted(path.stem for path in (project / "configs").iterdir())
    runs = [f"run configs/{name}.yaml -f {framework} --device cpu --output out/{framework}/{name}" for name in names]
    codes, said = pipelines(project, (*blocked, "torchtext", "tensorflow_io"), *runs)
    assert codes == [0, 0, 0, 0], said
    assert said.count("quarantined 0") == 4, said
