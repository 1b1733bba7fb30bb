"""Which module may import which, and that no framework is loaded but the one in use."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipelines

PACKAGE = Path(pipelines.__file__).parent
TESTS = Path(__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODALITIES = ("audio", "text", "image", "label")
# a module imports, when it is loaded, only from earlier lines and from its own
ORDER = (
    ("errors",),
    ("spec",),
    ("companions",),
    ("native", "guard", "announced"),
    ("step", "draw"),
    ("buckets",),
    ("grid", "geometry", "weights"),
    ("sinks",),
    ("fitted",),
    (*MODALITIES, "sources"),
    ("catalog",),
    ("config", "contract"),
    ("plan", "cache", "batch"),
    ("runtime",),
    ("pipeline", "output"),
    ("runtime.keras_objects", "runtime.torch_objects"),
    ("single", "fit", "run", "samples"),
    ("report",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, line in enumerate(ORDER) for name in line}
LIBRARIES = {
    "torch": {"torch", "torchaudio", "torchdata", "torchtext", "torchvision"},
    "tensorflow": {
        *("tensorflow", "tensorflow_datasets", "tensorflow_io", "tensorflow_text"),
        *("keras", "keras_hub", "keras_nlp"),
    },
}
# what loads a framework when it is imported, and which; all others import theirs inside functions
LOADERS = {
    "runtime.torch": "torch",
    "runtime._processes": "torch",
    "runtime.torch_objects": "torch",
    "runtime.tensorflow": "tensorflow",
    "runtime.keras_objects": "tensorflow",
    "runtime._wire": "tensorflow",
    "text._roberta": "torch",  # its classes are torch modules
}
IMPORT_SECONDS = 2.0  # of processor time: 1.1 were measured on a busy machine; loading a framework takes 2.6 or more


def module_name(file: Path) -> str:
    """`audio.mel` for audio/mel.py; empty for the package itself."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports(tree: ast.AST, name: str, *, deep: bool) -> Iterator[str]:
    """Full names of what a module imports: on loading, or (deep) anywhere in it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif deep or not (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _for_types(node)):
            yield from imports(node, name, deep=deep)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def rank(name: str) -> int:
    """The line of ORDER that a module stands on: its own, or that of its folder."""
    return RANK[name] if name in RANK else RANK[name.partition(".")[0]]


def misplaced(name: str, source: str) -> list[str]:
    """What a module imports that the order does not allow."""
    place, _, part = name.partition(".")
    tree = ast.parse(source)
    wrong = []
    for deep in (False, True):
        for target in imports(tree, name, deep=deep):
            root, _, rest = target.partition(".")
            if root != "pipelines":
                continue
            other, _, inner = rest.partition(".")
            if deep and rank(name) >= RANK["catalog"]:
                continue  # from the catalogue on, functions may reach up: pipeline.torch_dataset() makes what holds it
            if other not in RANK:
                continue  # a name of the package itself
            up = rank(rest if rest in RANK else rest.rpartition(".")[0] or rest) > rank(name)
            sideways = other != place and {other, place} <= {*MODALITIES, "sources"}
            a_step = other in MODALITIES and part and not inner.startswith("_")
            if up or sideways or a_step:
                wrong.append(f"{name} imports {target}")
    return wrong


def early_frameworks(name: str, source: str) -> list[str]:
    """Frameworks that a module would load when it is imported."""
    names = {target.partition(".")[0] for target in imports(ast.parse(source), name, deep=False)}
    return sorted(names & (LIBRARIES["torch"] | LIBRARIES["tensorflow"]))


def test_every_module_has_a_place() -> None:
    places = {module_name(file).partition(".")[0] for file in FILES} - {""}
    assert places == {name for name in RANK if "." not in name}


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_order(file: Path) -> None:
    name = module_name(file)
    if name:
        assert misplaced(name, file.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_frameworks_are_imported_inside_functions(file: Path) -> None:
    name = module_name(file)
    allowed = LIBRARIES[LOADERS[name]] if name in LOADERS else set()
    assert set(early_frameworks(name, file.read_text())) <= allowed


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("spec", "from pipelines.step import Step"),
        ("audio.mel", "def f():\n    from pipelines.catalog import find_step"),
        ("audio.mel", "from pipelines.image._geometry import box"),
        ("audio.mel", "from pipelines.audio.stft import Stft"),
        ("audio.mel", "from pipelines.sources import _base"),
        ("plan", "class A:\n    from pipelines import runtime"),
        ("report.tables", "import pipelines.cli"),
    ],
)
def test_a_wrong_order_is_found(name: str, source: str) -> None:
    assert len(set(misplaced(name, source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "try:\n    import tensorflow as tf\nexcept ImportError:\n    tf = None",
        "class A:\n    from torchvision.io import decode_image",
        "if True:\n    import keras.ops",
    ],
)
def test_an_early_framework_is_found(source: str) -> None:
    assert early_frameworks("audio.mel", source)
    assert not early_frameworks("audio.mel", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch")
    assert not early_frameworks("audio.mel", f"def f():\n    {'    '.join(source.splitlines(keepends=True))}")


def python(*arguments: str, folders: tuple[Path, ...] = ()) -> str:
    """What a fresh interpreter prints; `folders` are put before its own modules."""
    path = os.pathsep.join(map(str, (*folders, TESTS)))
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(framework: str, printed: str) -> set[str]:
    """The libraries of a framework among the modules that a program printed."""
    return LIBRARIES[framework] & set(printed.split())


SHOW = "; import sys; print(*{m.partition('.')[0] for m in sys.modules})"


@pytest.mark.parametrize(
    "code",
    [
        "import pipelines, pipelines.catalog, pipelines.cli",
        "from pipelines import catalog as c; [c.find_step(n) for n in c.step_names()]; "
        "[c.find_source(n) for n in c.source_names()]; [c.find_sink(n) for n in c.sink_names()]",
    ],
    ids=["package", "steps, sources and sinks"],
)
def test_importing_loads_no_framework(code: str) -> None:
    printed = python("-c", code + SHOW)
    assert "pipelines" in printed.split()
    assert not loaded("torch", printed) | loaded("tensorflow", printed)


def test_binding_every_step_loads_only_its_framework(framework: str) -> None:
    printed = python("-W", "ignore", str(TESTS / "_bind_all.py"), framework)
    other = "tensorflow" if framework == "torch" else "torch"
    assert loaded(framework, printed)
    assert not loaded(other, printed)


LEAK = '''
from pipelines.spec import picture
from pipelines.step import Example, Step

class Leak(Step):
    """Loads the other framework in its kernel."""
    examples = (Example(picture()),)
    def out_spec(self, x): return x
    def bind_torch(self, x):
        def kernel(value):
            import tensorflow
            return value
        return kernel
    def bind_tensorflow(self, x):
        import torch
        return lambda value: value
'''


STAND_IN = """
from types import SimpleNamespace
autograph = SimpleNamespace(experimental=SimpleNamespace(do_not_convert=lambda kernel: kernel))
"""


def test_a_leak_is_found(tmp_path: Path) -> None:
    (tmp_path / "leak.py").write_text(LEAK)
    for library in ("torch", "tensorflow"):  # all but empty: what counts is that they are imported
        (tmp_path / library).mkdir()
        (tmp_path / library / "__init__.py").write_text(STAND_IN)
    script = "import sys, types; sys.modules['pipelines.native'] = native = types.ModuleType('pipelines.native'); "
    script += "native.to_native = lambda value, *_: value; native.to_numpy = lambda value, _: value; "
    script += "native.unconverted = lambda function: function; "
    script += "native.need_framework = lambda _: None; native.library_versions = lambda _: {}; native.LIBRARIES = {}; "
    script += f"sys.path.insert(0, {str(TESTS)!r}); import _bind_all; _bind_all.main(sys.argv[1], 'leak')"
    assert loaded("tensorflow", python("-c", script, "torch", folders=(tmp_path,)))
    assert loaded("torch", python("-c", script, "tensorflow", folders=(tmp_path,)))


def test_importing_is_quick() -> None:
    code = "import time; start = time.process_time(); import pipelines; print(time.process_time() - start)"
    assert min(float(python("-c", code)) for _ in range(3)) < IMPORT_SECONDS


def test_class_variables_name_their_type() -> None:
    """Python 3.10 cannot evaluate a bare ClassVar in a pydantic model; a subclass needs no annotation at all."""
    bare = re.compile(r": ClassVar\b(?!\[)")
    wrong = [
        str(path)
        for path in PACKAGE.rglob("*.py")
        if "ClassVar" in path.read_text("utf-8") and bare.search(path.read_text("utf-8"))
    ]
    assert wrong == []


def test_checks_in_a_graph_are_waited_for() -> None:
    """A check that nothing waits for races with the operation it protects, whose words are then told instead."""
    alone = [
        f"{path}:{line.lineno}"
        for path in PACKAGE.rglob("*.py")
        for line in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(line, ast.Expr) and ast.unparse(line).startswith("tf.debugging.")
    ]
    assert alone == []
