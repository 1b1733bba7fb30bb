"""Between NumPy in the layout a spec describes and the tensors a framework works on.

NumPy arrays are channel last, like the spec; torch pictures are channel first. Text is `str` and
encoded files are `bytes` in NumPy and in torch, `tf.string` scalars in TensorFlow; tokens are a
list of `str` in NumPy and torch, a `tf.string` vector in TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from pipelines.companions import torch_beside_tensorflow
from pipelines.errors import MissingLibrary
from pipelines.spec import Spec


def need_framework(framework: str) -> None:
    """MissingLibrary unless `framework` is installed; it can be loaded then, also where the other one is."""
    try:
        found = find_spec(framework) is not None
    except ValueError:  # it is blocked in sys.modules
        found = False
    if not found:
        raise MissingLibrary({"torch": "PyTorch", "tensorflow": "TensorFlow"}[framework], framework)
    if framework == "torch":
        torch_beside_tensorflow()


LIBRARIES = {
    "torch": ("torch", "torchaudio", "torchvision", "torchtext"),
    "tensorflow": ("tensorflow", "tensorflow-io", "tensorflow-text", "keras-hub"),
}


def library_versions(framework: str) -> dict[str, str]:
    """Versions of this package and of the framework's libraries: what the last bits of a number may depend on."""
    versions = {}
    for library in ("multimodal-pipelines", *LIBRARIES[framework]):
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return versions


def to_native(value: Any, spec: Spec, framework: str) -> Any:
    """One record's value, as NumPy holds it, as a tensor of `framework`."""
    if framework == "torch":
        if not spec.is_numeric:
            return value
        import torch

        # a copy: arrays that come from memory maps or from `bytes` are read-only
        tensor = torch.from_numpy(np.array(value, dtype=spec.dtype, order="C", ndmin=len(spec.axes)))
        return tensor.movedim(-1, -3).contiguous() if spec.is_picture else tensor
    import tensorflow as tf

    if spec.is_numeric:
        return tf.constant(np.asarray(value, dtype=spec.dtype))
    if not spec.axes:
        return tf.constant(value)
    return tf.constant(list(value), dtype=tf.string, shape=(len(value),))


def to_numpy(value: Any, spec: Spec) -> Any:
    """One record's value (or a batch of numbers) as NumPy holds it: channel last, text as `str`."""
    if not spec.is_numeric:
        return _strings(value, spec.dtype)
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if type(value).__module__.startswith("torch"):
        value = value.detach().cpu()
        if value.dtype.is_floating_point and value.element_size() == 2 and str(value.dtype) == "torch.bfloat16":
            value = value.float()
        array = value.numpy()
        return np.moveaxis(array, -3, -1) if spec.is_picture else array
    if not hasattr(value, "numpy"):
        return np.asarray(value, dtype=spec.dtype)
    array = value.numpy()
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _strings(value: Any, dtype: str) -> Any:
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_strings(item, dtype) for item in value]
    if dtype == "text" and isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value


def unconverted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function for TensorFlow's graph, out of AutoGraph's reach: to look for Python's control flow takes it long."""
    import tensorflow as tf

    kept: Callable[..., Any] = tf.autograph.experimental.do_not_convert(function)
    return kept


def torch_uint8(values: Any) -> Any:
    """A torch tensor of floats in [0, 256) cut to uint8; by way of int16, in a quarter of the time of torch's way."""
    import torch

    return values.to(torch.int16).to(torch.uint8)


def torch_constant(array: np.ndarray[Any, Any]) -> Callable[[Any], Any]:
    """A constant for a torch kernel: called with a tensor, gives the constant on that tensor's device."""
    import torch

    held = {torch.device("cpu"): torch.from_numpy(np.ascontiguousarray(array))}

    def on_device_of(x: Any) -> Any:
        tensor = held.get(x.device)
        if tensor is None:
            tensor = held[x.device] = held[torch.device("cpu")].to(x.device)
        return tensor

    return on_device_of
