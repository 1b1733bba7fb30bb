"""A step: one operation with one meaning, and a binding of it in each framework.

A step is a frozen model of its parameters. `out_spec` checks the seam and says what comes out;
`bind_torch` and `bind_tensorflow` return the kernel, a function made once and called, from many
threads, on one record or on a batch. A kernel's arguments are, in this order:

    value [, rate_hz] [, draw]

`rate_hz` (int) is handed only where the step has `takes_rate` and the spec's rate is PER_RECORD;
such a kernel, and one of a step with `gives_rate` whose output spec says PER_RECORD, returns
(value, rate_hz). `draw` (float64[..., variates], a tensor of the framework, on the CPU in torch) is
handed only where `variates()` is above 0; its leading axes are those of the value's batch.
A step with `joins` takes several values, one argument each; other steps are applied to each.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from pipelines.announced import announcement
from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy, unconverted
from pipelines.spec import FRAMEWORKS, PER_RECORD, Framework, Spec

Kernel = Callable[..., Any]


@dataclass(frozen=True)
class Identical:
    """Both frameworks give the same values, bit for bit."""

    why: str = ""

    def __str__(self) -> str:
        return "identical"

    def excess(self, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> str | None:
        """What is wrong, or None when `a` and `b` agree."""
        if np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            return None
        return f"{np.mean(a != b):.2%} of the values differ, by up to {difference(a, b):.3g}"


@dataclass(frozen=True)
class Close:
    """Differences of at most `absolute` + `of_peak` x the largest magnitude of the reference."""

    of_peak: float = 0.0
    absolute: float = 0.0
    why: str = ""

    def __str__(self) -> str:
        parts = [f"{self.of_peak:g} of peak"] * bool(self.of_peak) + [f"{self.absolute:g}"] * bool(self.absolute)
        return "within " + " + ".join(parts)

    def excess(self, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> str | None:
        """What is wrong, or None when `a` and `b` agree."""
        found = difference(a, b)
        peak = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
        allowed = self.absolute + self.of_peak * peak
        return None if found <= allowed else f"differs by {found:.3g}, allowed {allowed:.3g}"


@dataclass(frozen=True)
class Levels:
    """Whole levels: differences of at most `most`, on at most `share` of the values. Floats: at most `real`."""

    most: float = 1
    share: float = 1.0
    real: float = 0.0
    why: str = ""

    def __str__(self) -> str:
        whole = f"within {self.most:g} level{'s' * (self.most != 1)} on {self.share:.2%}"
        return f"{whole}; floats within {self.real:g}" if self.real else whole

    def excess(self, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> str | None:
        """What is wrong, or None when `a` and `b` agree."""
        found, share = difference(a, b), float(np.mean(a != b)) if a.size else 0.0
        if self.real and a.dtype.kind == "f":
            return None if found <= self.real else f"differs by {found:.3g}, allowed {self.real:g}"
        if found <= self.most and share <= self.share:
            return None
        return f"differs by {found:.3g} levels on {share:.3%}, allowed {self.most:g} on {self.share:.3%}"


Agreement = Identical | Close | Levels


def difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Largest absolute difference; infinite when the shapes, or the places of NaN and inf, differ."""
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "iufcb":
        return 0.0 if np.array_equal(a, b) else float("inf")
    return float(np.max(absolute_gaps(a, b), initial=0.0))


def absolute_gaps(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> npt.NDArray[np.float64]:
    """The absolute difference of each value; infinite where only one is NaN, or infinities differ."""
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    x, y = a.astype(wide), b.astype(wide)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    gap = np.abs(np.where(same, 0, x) - np.where(same, 0, y))
    return np.where(np.isnan(gap), np.inf, gap)


@dataclass(frozen=True)
class Example:
    """A case of the contract test: parameters, what flows in and, where chance does not suit, the values.

    For a step with `joins`, `takes` holds the spec of each value and a record is a tuple of values. `values` gets a
    NumPy generator and returns the records to use; left out, the test draws them from the spec, with odd sizes where
    an axis is open. `files` writes into a folder what is too large to be kept beside the step (weights), and returns
    the parameters that name it. `needs` is a library without which there is no such step, where not every Python of
    the project has it.
    """

    takes: Spec | tuple[Spec, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    # Not in the repr: a function's address would give a test another name in each process.
    values: Callable[[np.random.Generator], Sequence[Any]] | None = field(default=None, repr=False)
    files: Callable[[Path], Mapping[str, Any]] | None = field(default=None, repr=False)
    needs: str | None = None


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None or path.is_absolute() else Path(base) / path


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path in a config: relative to the config file."""


class Step(BaseModel):
    """Base of all steps. See the module for what a kernel is handed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    agreement: ClassVar[Agreement] = Identical()
    examples: ClassVar[tuple[Example, ...]] = ()
    serving: ClassVar[tuple[float, ...]] = ()
    """The draw that `apply` and evaluation use: the least a random step can do (no turn, centre crop)."""
    batches: ClassVar[bool] = True
    """Whether the kernels take leading batch axes, and float64[batch, variates] draws with them.

    A step that can fail on a record's values (not its shape) must not: one record would fail its batch.
    """
    takes_rate: ClassVar[bool] = False
    gives_rate: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    draws_sizes: ClassVar[bool] = False
    """Whether a draw decides the sizes of what comes out, which then are not known before it."""
    moves_pixels: ClassVar[bool] = False
    """Whether a picture's pixels change place; boxes and masks can follow a `MovingStep` only."""
    meaning: ClassVar[int] = 1
    """Raised when the same parameters come to mean other numbers, so that caches and states know."""

    @classmethod
    def step_name(cls) -> str:
        """The name in a config, `audio.mel`: modality and file name, or what the class's package announces it as."""
        own = None if cls.__module__.startswith("pipelines.") else announcement(cls)
        return own.name if own else ".".join(cls.__module__.split(".")[-2:])

    def variates(self) -> int:
        """Unit variates drawn per record; 0 for a step without randomness."""
        return 0

    @property
    def frameworks(self) -> tuple[Framework, ...]:
        """Where it can run: where it has a binding. With one alone it is exempt from parity, and so is its config."""
        bound = (f for f in FRAMEWORKS if getattr(type(self), f"bind_{f}") is not getattr(Step, f"bind_{f}"))
        return tuple(bound) or FRAMEWORKS

    @property
    def why_one_framework(self) -> str:
        """Why it cannot run in both frameworks, as the end of a sentence."""
        return "it has no binding for the other"

    def files(self) -> tuple[Path, ...]:
        """Files whose content decides the result: vocabularies, models."""
        return ()

    def naming(self) -> Callable[[int], str] | None:
        """What a whole number that comes out stands for, such as a token or a class; None where it is but a number."""
        return None

    def out_spec(self, x: Spec) -> Spec:
        """What comes out when `x` flows in, or SpecError. Looks at no data."""
        raise SpecError(f"{type(self).__name__} does not say what it gives: its class has no out_spec")

    def bind_torch(self, x: Spec) -> Kernel:
        """The kernel on torch values."""
        raise SpecError(f"{type(self).__name__} cannot run on torch: its class has no bind_torch")

    def bind_tensorflow(self, x: Spec) -> Kernel:
        """The kernel on TensorFlow values; works eagerly and inside a graph."""
        raise SpecError(f"{type(self).__name__} cannot run on tensorflow: its class has no bind_tensorflow")

    def bind_torch_rows(self, x: Spec) -> Kernel | None:
        """A kernel for many records at once that cannot be stacked, where that is faster; None where it is not.

        It is handed lists with an entry for each record, values [, rates], and returns the list of what `bind_torch`'s
        kernel would return. Only steps without chance have one; when it raises, the records go one by one.
        """
        return None

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        """A kernel for all records of a batch at once, in a graph, for records without axes or with one; else None.

        It is handed values [, rates] and returns what `bind_tensorflow`'s kernel would return: numbers, texts and files
        as a vector, what has one axis as a RaggedTensor, or stacked where its size is known; rates int64[records].
        There may be no record at all. Only steps without chance have one; when it fails, the records go one by one.
        """
        return None

    def bind_tensorflow_with(self, following: Step, x: Spec) -> Kernel | None:
        """A kernel for a single record that gives what `following` makes of this step's result, to the bit; else None.

        It is handed the value, and the draw of `following` where that draws. Only steps without chance have one.
        """
        return None

    def bind(self, framework: str, *x: Spec) -> Kernel:
        """The kernel in `framework`; a step with `joins` is given several specs."""
        if framework not in self.frameworks:
            raise SpecError(only_in(self, self.step_name(), framework))
        if framework == "torch":
            return self.bind_torch(*x)
        return unconverted(self.bind_tensorflow(*x))

    def bind_with(self, following: Step, framework: str, x: Spec) -> Kernel | None:
        """The kernel in `framework` for this step and the one behind it together, if there is one."""
        kernel = self.bind_tensorflow_with(following, x) if framework == "tensorflow" else None
        return None if kernel is None else unconverted(kernel)

    def bind_rows(self, framework: str, x: Spec) -> Kernel | None:
        """The kernel for many records at once in `framework`, if there is one."""
        if framework == "torch":
            return self.bind_torch_rows(x)
        return self.bind_tensorflow_rows(x)


def only_in(step: Step, name: str, framework: str) -> str:
    """What is wrong with running a step in a framework that it does not know."""
    only = " or ".join(step.frameworks)
    return f"{name} runs on {only} only, since {step.why_one_framework}; expected framework: {only}, got {framework}"


class HostStep(Step):
    """A step with one NumPy binding that both frameworks call: for what neither has an op for."""

    batches: ClassVar[bool] = False

    @abstractmethod
    def bind_numpy(self, x: Spec) -> Kernel:
        """The kernel on NumPy values: channel last, text as `str`, files as `bytes`."""

    def bind_torch(self, x: Spec) -> Kernel:
        return host_torch(self.bind_numpy(x), x, self.out_spec(x))

    def bind_tensorflow(self, x: Spec) -> Kernel:
        return host_tensorflow(self.bind_numpy(x), x, self.out_spec(x))

    def bind_tensorflow_rows(self, x: Spec) -> Kernel | None:
        return host_tensorflow_rows(self.bind_numpy(x), x, self.out_spec(x))


class BatchStep(Step):
    """A step on the finished batch: it reads and changes several fields at once, with one draw for the whole batch.

    It stands under `batch_steps:`; `apply` leaves it out. A kernel is handed the values of `fields`, in that order and
    each with a batch axis, then float64[variates] where it draws, and returns the entries of the batch that it makes
    or changes, by name. A step that `packs` is handed the padded values of its one field, and their lengths int64[rows]
    on the CPU; the entries it makes are FIELD_row, FIELD_start and FIELD_length of each record, by which the record
    is found again, and others of its own (`entries`).
    """

    fields: Annotated[tuple[str, ...], Field(min_length=1)]
    packs: ClassVar[bool] = False
    """Whether it lays several records in one row, as another way to put sequences of differing lengths together."""

    def entries(self) -> tuple[str, ...]:
        """Names of the entries that it adds to a batch."""
        return ()

    @abstractmethod
    def out_specs(self, *specs: Spec) -> tuple[Spec, ...]:
        """What comes out when `specs`, those of the `fields`, flow in, or SpecError. Looks at no data."""

    @field_validator("fields")
    @classmethod
    def _distinct(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(fields)) < len(fields):
            raise ValueError(f"each field may be named once, got {list(fields)}")
        return fields


def host_torch(kernel: Kernel, x: Spec, out: Spec) -> Kernel:
    """A NumPy kernel as a torch kernel."""

    def call(value: Any, *rest: Any) -> Any:
        result = kernel(to_numpy(value, x), *rest)
        if out.rate_hz == "per record":
            return to_native(result[0], out, "torch"), result[1]
        return to_native(result, out, "torch")

    return call


_passed: ContextVar[list[Spec] | None] = ContextVar("passed", default=None)


@contextmanager
def passed_to_host() -> Iterator[list[Spec]]:
    """Collects what flows into the NumPy kernels that steps, bound to TensorFlow meanwhile, call from the graph."""
    passed: list[Spec] = []
    token = _passed.set(passed)
    try:
        yield passed
    finally:
        _passed.reset(token)


def host_tensorflow(kernel: Kernel, x: Spec, out: Spec) -> Kernel:
    """A NumPy kernel as a TensorFlow kernel, by way of tf.numpy_function."""
    import tensorflow as tf

    if (passed := _passed.get()) is not None:
        passed.append(x)

    dtype = tf.as_dtype(out.dtype) if out.is_numeric else tf.string
    with_rate = out.rate_hz == "per record"

    def numpy_call(value: Any, *rest: Any) -> Any:
        result = kernel(to_numpy(value, x), *[r.item() if r.ndim == 0 else r for r in map(np.asarray, rest)])
        data = result[0] if with_rate else result
        if not out.is_numeric:
            data = np.array([s.encode() if isinstance(s, str) else s for s in data] if out.axes else data, dtype=object)
        else:
            data = np.asarray(data, dtype=out.dtype)
        return (data, np.int64(result[1])) if with_rate else data

    def call(value: Any, *rest: Any) -> Any:
        result = tf.numpy_function(numpy_call, [value, *rest], [dtype, tf.int64] if with_rate else dtype)
        data = result[0] if with_rate else result
        data.set_shape(out.shape)
        return (data, result[1]) if with_rate else data

    return call


def host_tensorflow_rows(kernel: Kernel, x: Spec, out: Spec) -> Kernel | None:
    """A NumPy kernel as a TensorFlow kernel for all records of a batch, in one call of tf.numpy_function.

    None unless both what flows in and what comes out are numbers, texts or files, or one axis of these comes out.
    """
    if x.axes or len(out.axes) > 1 or PER_RECORD in (x.rate_hz, out.rate_hz):
        return None
    import tensorflow as tf

    dtype = tf.as_dtype(out.dtype) if out.is_numeric else tf.string

    def numpy_call(values: Any) -> Any:
        made = [kernel(to_numpy(value, x)) for value in values]
        lengths = np.array([len(value) if out.axes else 1 for value in made], np.int64)
        if out.is_numeric:
            flat = np.concatenate([np.zeros(0, out.dtype), *made]) if out.axes else np.array(made)
            return flat.astype(out.dtype), lengths
        items = [item for value in made for item in value] if out.axes else made
        return np.array([i.encode() if isinstance(i, str) else i for i in items], dtype=object), lengths

    def call(values: Any) -> Any:
        flat, lengths = tf.numpy_function(numpy_call, [values], [dtype, tf.int64])
        flat.set_shape((None,))
        lengths.set_shape((None,))
        if not out.axes:
            return flat
        if out.shape[0] is not None:
            return tf.reshape(flat, (-1, out.shape[0]))
        return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)

    return call


def step_class(module: str) -> type[Step]:
    """The one step class that a module defines."""
    held = importlib.import_module(module)
    found = [
        c
        for c in vars(held).values()
        if isinstance(c, type) and issubclass(c, Step) and c.__module__ == module and not c.__name__.startswith("_")
    ]
    if len(found) != 1:
        raise TypeError(f"{module} must define exactly one step, it defines {[c.__name__ for c in found]}")
    return found[0]


def step_modules(path: Iterable[str]) -> list[str]:
    """Names of the step files in a modality's folder: the folder is the registry."""
    return sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))


def lazy(package: str, path: Iterable[str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a modality: `from pipelines.audio import Mel` loads mel.py alone."""
    folder = list(path)

    def class_names() -> dict[str, str]:
        return {"".join(part.title() for part in name.split("_")): name for name in step_modules(folder)}

    def getattribute(name: str) -> Any:
        file = class_names().get(name)
        if file is None:
            raise AttributeError(f"module {package!r} has no step {name!r}")
        return step_class(f"{package}.{file}")

    return getattribute, lambda: sorted(class_names())
