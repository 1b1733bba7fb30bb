"""scripts/_environment, run by bash in a small tree with a Python and tools that only pretend."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Answers as the interpreter that the environment asks: its version, whether it has ensurepip, `-m venv`
# (which copies the pretender into the environment) and `-m pip`, whose words and end the test chooses.
FAKE_PYTHON = """#!/bin/bash
here={tree}
echo "$(basename "$0") $*" >>"$here/calls"
case "$*" in
    "-c import sys; print(sys.implementation"*) echo "cpython {version}" ;;
    "-c import ensurepip"*) [ -e "$here/ensurepip" ] ;;
    "-c import sys; print(\\"python"*) echo "python{version}-venv" ;;
    "-c import pip"*) [ -e "$here/usable" ] ;;
    "-c "*) ;;
    --version) echo "Python {version}.0" ;;
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"install --no-deps"*) . "$here/pip" ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""


class Tree:
    """A copy of the scripts with locks of one package, and a PATH of pretenders before the real tools."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a project"  # a space, since people have them in paths
        for name in ("scripts", "locks"):
            (self.root / name).mkdir(parents=True)
        for name in ("_environment", "test"):
            (self.root / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
        self.lock("full", "numpy==1.26.4")
        self.lock("full-dev", "numpy==1.26.4\npytest==8.2.0")
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.state = folder
        self.pip('echo "Collecting numpy==1.26.4"')
        (folder / "ensurepip").touch()
        (folder / "usable").touch()
        self.tool("df", "echo head; echo disk 1 1 $((100 * 1024 * 1024)) 1% /")
        for name in ("python3.10", "python3.11", "python3.12", "python3.13", "python3"):
            self.tool(name, "exit 127")
        self.python("python3.11", "3.11")

    def lock(self, name: str, content: str) -> None:
        (self.root / "locks" / f"{name}.txt").write_text(content + "\n")

    def pip(self, script: str) -> None:
        (self.state / "pip").write_text(script + "\n")

    def tool(self, name: str, script: str) -> None:
        self._write(name, f"#!/bin/bash\n{script}\n")

    def python(self, name: str, version: str) -> None:
        self._write(name, FAKE_PYTHON.format(tree=f'"{self.state}"', version=version))

    def _write(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def calls(self) -> list[str]:
        """What the pretending interpreters were asked to do since the last look."""
        path = self.state / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def start(self, script: str) -> subprocess.Popen[str]:
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        command = ["bash", "-c", f". scripts/_environment\n{script}"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, script: str = 'make_environment full; echo "$python"') -> tuple[int, str, str]:
        process = self.start(script)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def installs(calls: list[str]) -> list[str]:
    return [call.split("install ", 1)[1] for call in calls if " install " in call]


def test_makes_the_environment_from_the_lock_then_reuses_it(tree: Tree) -> None:
    code, out, err = tree.run()
    assert (code, out) == (0, f"{tree.root}/.venv/bin/python\n"), err
    assert installs(tree.calls()) == [
        f"--no-deps --require-hashes -r {tree.root}/locks/full.txt",
        f"--no-deps --no-build-isolation -e {tree.root}",
    ]
    begun = time.monotonic()
    assert tree.run() == (0, f"{tree.root}/.venv/bin/python\n", "")
    assert tree.calls() == []  # nothing is even asked
    assert time.monotonic() - begun < 1


def test_the_development_environment_serves_where_the_plain_one_is_asked_for(tree: Tree) -> None:
    assert tree.run("make_environment full-dev")[0] == 0
    tree.calls()
    assert tree.run("make_environment full")[0] == 0
    assert tree.calls() == []


def test_each_stack_has_an_environment_of_its_own(tree: Tree) -> None:
    tree.lock("current", "numpy==2.4.6")
    tree.lock("current-dev", "numpy==2.4.6\npytest==9.2.0")
    tree.run()
    tree.calls()
    tree.python("python3.11", "3.10")
    tree.python("python3.13", "3.13")
    code, out, err = tree.run('make_environment current-dev; echo "$python"')
    assert (code, out) == (0, f"{tree.root}/.venv-current/bin/python\n"), err
    calls = tree.calls()
    assert any(call.startswith("python3.13 -m venv") for call in calls), "3.10 has no packages of this stack"
    assert installs(calls)[0] == f"--no-deps --require-hashes -r {tree.root}/locks/current-dev.txt"
    both = 'make_environment full; echo "$python"; make_environment current; echo "$python"'
    code, out, err = tree.run(both)
    assert out.split("\n")[:2] == [f"{tree.root}/.venv/bin/python", f"{tree.root}/.venv-current/bin/python"], err
    assert tree.calls() == []


def test_a_stack_that_there_is_not_is_told_before_installing(tree: Tree) -> None:
    code, _, err = tree.run("bash scripts/test --stack newest")
    assert (code, err) == (2, "scripts/test --stack full, current or both; got 'newest'.\n")
    assert tree.calls() == []


@pytest.mark.parametrize("change", ["lock", "pyproject", "development"])
def test_a_change_is_installed_into_the_environment_that_is_there(tree: Tree, change: str) -> None:
    tree.run()
    tree.calls()
    kept = tree.root / ".venv" / "kept"
    kept.touch()
    if change == "lock":
        tree.lock("full", "numpy==1.26.5")
    if change == "pyproject":
        (tree.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    code, _, err = tree.run("make_environment full-dev" if change == "development" else "make_environment full")
    assert code == 0, err
    assert len(installs(tree.calls())) == 2
    assert kept.exists()


def test_an_interrupted_install_is_done_again_from_nothing(tree: Tree) -> None:
    tree.pip(f'echo begun >"{tree.state}/begun"; exec sleep 60')
    process = tree.start("make_environment full")
    while not (tree.state / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
    process.kill()
    process.communicate()
    half = tree.root / ".venv" / "half a package"
    half.touch()
    tree.pip("echo Collecting")
    code, _, err = tree.run()
    assert code == 0, err
    assert "unfinished" in err
    assert not half.exists()


def test_an_environment_that_was_moved_is_made_anew(tree: Tree) -> None:
    tree.run()
    moved = tree.root.with_name("moved")
    tree.root.rename(moved)
    tree.root = moved
    code, out, err = tree.run()
    assert (code, out) == (0, f"{moved}/.venv/bin/python\n"), err
    assert "made elsewhere" in err


def test_a_foreign_environment_is_used_when_it_fits_and_never_removed(tree: Tree) -> None:
    foreign = tree.root / ".venv"
    (foreign / "bin").mkdir(parents=True)
    (foreign / "bin" / "python").write_text((tree.bin / "python3.11").read_text())
    (foreign / "bin" / "python").chmod(0o755)
    (tree.state / "usable").unlink()
    code, _, err = tree.run()
    assert code == 2
    assert err == (
        f"{foreign} is there and is no environment of Python 3.10 to 3.12 with pip: remove it, and call this again.\n"
    )
    (tree.state / "usable").touch()
    assert tree.run()[0] == 0
    assert len(installs(tree.calls())) == 2


def test_two_calls_at_once_install_once(tree: Tree) -> None:
    tree.pip("sleep 0.5; echo Collecting")
    first, second = tree.start("make_environment full"), tree.start("make_environment full")
    errors = first.communicate(timeout=60)[1] + second.communicate(timeout=60)[1]
    assert (first.returncode, second.returncode) == (0, 0), errors
    assert len(installs(tree.calls())) == 2
    assert "waiting for it" in errors


def test_an_unfit_python_is_passed_over(tree: Tree) -> None:
    tree.python("python3.11", "3.13")
    tree.python("python3.10", "3.10")
    assert tree.run()[0] == 0
    assert any(call.startswith("python3.10 -m venv") for call in tree.calls())


def test_no_fitting_python_gets_one_sentence(tree: Tree) -> None:
    tree.python("python3.11", "3.9")
    tree.python("python3", "3.13")
    assert tree.run() == (
        2,
        "",
        "Python 3.10, 3.11 or 3.12 is needed and none was found (python3 is cpython 3.13): "
        "install one so that python3.11, say, is on PATH, and call this again.\n",
    )
    assert not (tree.root / ".venv").exists()


def test_a_python_without_ensurepip_gets_the_package_of_debian(tree: Tree) -> None:
    (tree.state / "ensurepip").unlink()
    tree.tool("id", "echo 0")
    tree.tool("apt-get", f'echo "$*" >>"{tree.state}/apt"; [ "$1" = update ] || touch "{tree.state}/ensurepip"')
    code, _, err = tree.run()
    assert code == 0, err
    asked = (tree.state / "apt").read_text().splitlines()
    assert asked == ["update -qq", "install -y -qq --no-install-recommends python3.11-venv"]


def test_without_the_right_to_install_the_command_is_named(tree: Tree) -> None:
    (tree.state / "ensurepip").unlink()
    tree.tool("id", "echo 1000")
    tree.tool("sudo", "exit 1")
    tree.tool("apt-get", "exit 1")
    assert tree.run() == (
        2,
        "",
        "python3.11 cannot make environments: run 'sudo apt-get install python3.11-venv', and call this again.\n",
    )


def test_a_small_disk_is_refused_before_anything_is_made(tree: Tree) -> None:
    tree.tool("df", "echo head; echo disk 1 1 $((3 * 1024 * 1024)) 97% /")
    code, _, err = tree.run()
    assert code == 2
    assert re.fullmatch(r"\d+ GB of free disk space are needed under .* and 3 GB are left: .*\n", err)
    assert not (tree.root / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: No matching distribution found for numpy==1.26.4", "A download failed"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "A download failed"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "is not the one in the lock"),
        ("ERROR: something nobody foresaw", "Installing the packages failed"),
    ],
)
def test_a_failure_of_pip_gets_one_sentence_after_the_last_lines(tree: Tree, words: str, sentence: str) -> None:
    tree.pip(f"echo 'Collecting numpy'; echo '{words}' >&2; exit 1")
    code, _, err = tree.run()
    assert code == 2
    assert sentence in err.splitlines()[-1]
    assert words in err
    log = tree.root / ".venv" / "install.log"
    assert str(log) in err
    assert words in log.read_text()
    tree.pip("echo Collecting")
    assert tree.run()[0] == 0  # and the next call starts over


def test_data_that_is_not_there_is_told_before_installing(tree: Tree) -> None:
    code, _, err = tree.run("PIPELINES_DATA=nowhere bash scripts/test")
    assert code == 2
    assert "is not a folder" in err
    assert len(err.splitlines()) == 1
    assert tree.calls() == []


@pytest.mark.parametrize("name", ["full", "full-dev", "current", "current-dev"])
def test_locks_name_hashes_and_no_index(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert not re.search(r"https?://|--(extra-)?index|--find-links", text)
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert len(requirements) > 100
    assert all("--hash=sha256:" in r for r in requirements)


@pytest.mark.parametrize("stack", ["full", "current"])
def test_the_development_lock_holds_the_plain_one(stack: str) -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (ROOT / "locks" / f"{name}.txt").read_text(), re.MULTILINE))

    assert pins(stack) < pins(f"{stack}-dev")
