"""The command line: exit codes, messages for a user's mistakes, and what a run leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines import cli


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def pipelines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["pipelines", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Result(int(stopped.value.code or 0), said.out, said.err)

    return call


CONFIG = """\
framework: torch
source:
  folder: {path: sounds, files: "*.wav", name: "{digit}_{take}"}
fields:
  wave:
    from: file
    steps:
      - audio.decode: {channels: mono}
      - audio.resample: {rate_hz: 8000}
      - audio.fit: {samples: 400}
  digit:
    from: name.digit
    steps: [label.index: {classes: ["0", "1", "2"]}]
batch: {size: 4, shuffle: true}
on_error: {at_most: 0.5}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "sounds").mkdir()
    for take in range(10):
        soundfile.write(tmp_path / f"sounds/{take % 3}_{take}.wav", rng.uniform(-0.5, 0.5, 300 + take), 8000)
    (tmp_path / "sounds/1_99.wav").write_bytes(b"RIFF, but no sound")
    path = tmp_path / "sounds.yaml"
    path.write_text(CONFIG)
    return path


def test_run_says_what_happened(pipelines: Any, config: Path, framework: str) -> None:
    done = pipelines("run", config, "--framework", framework, "--device", "cpu")
    assert done.code == 0
    assert f"{framework}: read 11 = delivered 10 + quarantined 1 + left over 0" in done.out
    assert "quarantined 1_99.wav: wave: audio.decode:" in done.err


def test_run_writes_shards_and_refuses_to_write_over_them(pipelines: Any, config: Path, framework: str) -> None:
    output = config.parent / f"out_{framework}"
    command = ("run", config, "-f", framework, "--device", "cpu", "--output", output)
    done = pipelines(*command, "--json", "--epochs", 2)
    assert done.code == 0
    summary = json.loads(done.out)
    assert (summary["read"], summary["delivered"], summary["quarantined"]) == (22, 20, 2)
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["counts"] == {"read": 22, "delivered": 20, "quarantined": 2, "left_over": 0}
    lines = [json.loads(line) for line in (output / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["key"], line["field"], line["step"]) for line in lines] == [("1_99.wav", "wave", "audio.decode")] * 2

    again = pipelines(*command)
    assert again.code == 2
    assert "--resume" in again.err
    assert "--overwrite" in again.err
    assert pipelines(*command, "--overwrite").code == 0
    changed = pipelines(*command, "--resume", "--set", "batch.size=3")
    assert changed.code == 2
    assert "batch" in changed.err
    assert pipelines(*command, "--resume", "--overwrite").code == 2


def test_an_output_is_read_back_as_a_source(pipelines: Any, config: Path, framework: str) -> None:
    import pipelines as package

    output = config.parent / f"again_{framework}"
    assert pipelines("run", config, "-f", framework, "--device", "cpu", "--output", output).code == 0
    first = package.load(config, framework=framework, device="cpu")
    written = {record["key"]: record for delivered in first.epoch() for record in first.engine.unbatch(delivered)}
    document = {
        "framework": framework,
        "source": {"shards": {"path": str(output)}},
        "fields": {"wave": {"from": "wave", "steps": []}, "digit": {"from": "digit", "steps": []}},
        "batch": {"size": 3},
    }
    second = package.load(document, device="cpu")
    assert second.plan.specs["wave"] == first.plan.specs["wave"]
    read = [record for delivered in second.epoch() for record in second.engine.unbatch(delivered)]
    assert {r["key"] for r in read} == set(written)
    for record in read:
        assert np.array_equal(record["wave"], written[record["key"]]["wave"])
        assert record["digit"] == written[record["key"]]["digit"]


def test_too_many_failures_exit_with_3(pipelines: Any, config: Path, framework: str) -> None:
    done = pipelines("run", config, "-f", framework, "--device", "cpu", "--set", "on_error.at_most=0.0")
    assert done.code == 3
    assert "1_99.wav" in done.err
    stopped = pipelines("run", config, "-f", framework, "--device", "cpu", "--set", "on_error.policy=stop")
    assert stopped.code == 3
    assert "1_99.wav: wave: audio.decode:" in stopped.err


def test_a_resumed_run_may_lose_no_more_than_an_undisturbed_one(pipelines: Any, config: Path, framework: str) -> None:
    for take in range(5):
        (config.parent / f"sounds/2_bad{take}.wav").write_bytes(b"no sound")
    output = config.parent / "strict"
    command = ("run", config, "-f", framework, "--device", "cpu", "--output", output, "--set", "on_error.at_most=0.2")
    command += ("--set", "batch.size=1", "--set", "output={format: npz, path: out, records_per_shard: 1}")
    for mode in ((), ("--resume",), ("--resume",)):
        done = pipelines(*command, *mode)
        assert done.code == 3, done.err
        assert "4 of 16 records failed" in done.err
        lines = [json.loads(line) for line in (output / "quarantine.jsonl").read_text().splitlines()]
        assert len({line["key"] for line in lines}) == len(lines) == 4
        assert all(line["step"] == "audio.decode" and line["reason"] for line in lines)
        assert str(output / "quarantine.jsonl") in done.err
    assert pipelines(*command[:-4], "--set", "on_error.at_most=0.9", "--overwrite").code == 0


def test_a_missing_companion_library_is_named_with_its_extra(config: Path) -> None:
    missing, framework = "torchaudio", "torch"
    config.write_text(CONFIG.replace("- audio.fit", "- audio.pre_emphasis\n      - audio.fit"))
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"sys.argv = ['pipelines', 'run', sys.argv[1], '-f', {framework!r}]\n"
        "from pipelines.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        f"{missing} is not installed; install it with: pip install 'multimodal-pipelines[{framework}]'" in done.stderr
    )


def test_check_tells_every_fault_with_its_line(pipelines: Any, config: Path) -> None:
    text = (
        CONFIG.replace("rate_hz: 8000", "rate_hz: -1")
        .replace("label.index", "label.indx")
        .replace("from: file", "from: fil")
    )
    config.write_text(text.replace("batch: {size: 4", "batch: {sise: 4"))
    done = pipelines("check", config)
    assert done.code == 2
    for line, words in ((5, "'fil'"), (9, "rate_hz"), (13, "did you mean 'label.index'"), (14, "sise")):
        assert any(f"{config}:{line}: " in told and words in told for told in done.err.splitlines()), (line, done.err)
    assert "4 faults; nothing was run" in done.err


def test_check_tells_faults_at_the_seams(pipelines: Any, config: Path) -> None:
    config.write_text(
        CONFIG.replace(
            "      - audio.resample: {rate_hz: 8000}\n      - audio.fit: {samples: 400}\n", "      - audio.mel\n"
        )
    )
    done = pipelines("check", config)
    assert done.code == 2
    assert f"{config}:9: audio.mel: " in done.err
    assert "audio.resample" in done.err


def test_check_shows_the_plan(pipelines: Any, config: Path) -> None:
    done = pipelines("check", config)
    assert done.code == 0
    assert "one batch: wave float32[4, 400], digit int64[4]" in done.out
    assert "11 records shuffled, 3 batches of 4" in done.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("path: sounds", "path: nowhere"), "nowhere"),
        (('"*.wav"', '"*.flac"'), "*.flac"),
        (("from: name.digit", "from: name.digits"), "did you mean 'name.digit'"),
    ],
)
def test_what_is_missing_is_said(pipelines: Any, config: Path, change: tuple[str, str], words: str) -> None:
    config.write_text(CONFIG.replace(*change))
    done = pipelines("run", config)
    assert done.code == 2
    assert words in done.err


def test_explain_shows_where_a_record_fails(pipelines: Any, config: Path, framework: str) -> None:
    good = pipelines("explain", config, "0_0.wav", "-f", framework)
    assert good.code == 0
    assert "audio.resample" in good.out
    bad = pipelines("explain", config, "1_99.wav", "-f", framework)
    assert bad.code == 3
    assert "audio.decode" in bad.out
    unknown = pipelines("explain", config, "0_00.wav", "-f", framework)
    assert unknown.code == 2
    assert "did you mean '0_0.wav'" in unknown.err


def test_steps_lists_and_describes(pipelines: Any) -> None:
    listed = pipelines("steps")
    assert listed.code == 0
    assert "audio.mel" in listed.out
    page = pipelines("steps", "image.flip")
    assert "probability" in page.out
    assert "identical" in page.out
    unknown = pipelines("steps", "image.flop")
    assert unknown.code == 2
    assert "did you mean 'image.flip'" in unknown.err


def test_a_framework_that_is_not_installed_is_named_with_its_extra(config: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['pipelines', 'run', sys.argv[1]]\n"
        "from pipelines.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'multimodal-pipelines[torch]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("loaded", ["torch", "tensorflow"])
def test_running_one_framework_loads_nothing_of_the_other(config: Path, loaded: str) -> None:
    other = "tensorflow" if loaded == "torch" else "torch"
    code = (
        "import sys, pipelines\n"
        f"pipe = pipelines.load(sys.argv[1], framework={loaded!r}, device='cpu')\n"
        "assert sum(len(b['key']) for b in pipe) == 10\n"
        f"assert {loaded!r} in sys.modules\n"
        f"found = [m for m in sys.modules if m.split('.')[0].startswith({other!r})]\n"
        "assert not found, found[:5]\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_killed_run_keeps_finished_shards_and_resume_ends_the_same(
    pipelines: Any, config: Path, framework: str
) -> None:
    """SIGKILL in the middle, then --resume: the folder is that of an undisturbed run, byte for byte."""
    text = CONFIG.replace("batch: {size: 4", "output: {format: npz, path: out, records_per_shard: 2}\nbatch: {size: 2")
    config.write_text(text)
    whole, broken = config.parent / "whole", config.parent / "broken"
    arguments = ["run", config, "-f", framework, "--epochs", 5, "--device", "cpu"]
    assert pipelines(*arguments, "--output", whole).code == 0
    command = [sys.executable, "-m", "pipelines", *map(str, arguments), "--output", str(broken)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(list(broken.glob("shard-*"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (broken / "manifest.json").exists(), "the run ended before it could be killed"
    assert pipelines(*arguments, "--output", broken, "--resume").code == 0
    names = sorted(p.name for p in whole.iterdir() if not p.name.startswith("."))
    assert names == sorted(p.name for p in broken.iterdir() if not p.name.startswith("."))
    for name in names:
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name


def test_only_quarantined_runs_what_failed_with_the_draws_it_had(pipelines: Any, config: Path, framework: str) -> None:
    """A file is put right after a run that lost it; what is made of it then is what the first run would have made."""
    config.write_text(CONFIG.replace("- audio.fit: {samples: 400}", "- audio.fit: {samples: 400}\n      - audio.noise"))
    broken, right = config.parent / "sounds/1_99.wav", config.parent / "sounds/1_1.wav"
    first, again, whole = (config.parent / name for name in ("first", "again", "whole"))
    arguments = ["run", config, "-f", framework, "--device", "cpu", "--epochs", 2]
    assert pipelines(*arguments, "--output", first).code == 0
    once_more = [*arguments, "--only-quarantined", first]
    refused = pipelines(*once_more, "--output", first)
    assert (refused.code, "give another folder" in refused.err) == (2, True)
    assert "read 2 = delivered 0 + quarantined 2" in pipelines(*once_more).out

    broken.write_bytes(right.read_bytes())
    done = pipelines(*once_more, "--output", again)
    assert "read 2 = delivered 2 + quarantined 0" in done.out
    assert json.loads((again / "manifest.json").read_text())["header"]["only"] == 1
    assert pipelines(*arguments, "--output", whole).code == 0

    def waves(folder: Path) -> list[Any]:
        import pyarrow.parquet as pq

        rows = [row for shard in sorted(folder.glob("*.parquet")) for row in pq.read_table(shard).to_pylist()]
        return [row["wave"] for row in rows if row["key"] == "1_99.wav"]

    assert len(waves(whole)) == 2
    assert waves(again) == waves(whole)
    nothing = pipelines(*arguments, "--only-quarantined", again)
    assert (nothing.code, "lists no record" in nothing.err) == (2, True)
    absent = pipelines(*arguments, "--only-quarantined", config.parent / "nowhere")
    assert (absent.code, "expected the folder that a run has written" in absent.err) == (2, True)
    broken.unlink()
    lost = pipelines(*once_more)
    assert (lost.code, "1 of 1 records are not in the source" in lost.err) == (2, True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pipelines ch", {"check"}),
        ("pipelines steps audio.m", {"audio.mel", "audio.mfcc", "audio.mu_law"}),
        ("pipelines run x.yaml --framework t", {"torch", "tensorflow"}),
        ("pipelines run x.yaml --set batch.s", {"batch.size=", "batch.shuffle="}),
        ("pipelines run x.yaml --set on_e", {"on_error=", "on_error.policy=", "on_error.at_most="}),
    ],
)
def test_the_shell_completes_commands_steps_frameworks_and_keys(
    typed: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed.split()
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_PIPELINES_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit):
        cli.app(prog_name="pipelines")
    assert set(capsys.readouterr().out.split()) == offered
