"""Which companion libraries work here, and what is used where one does not: the one place that decides.

It is found out by trying, never by comparing versions. torchtext ended with torch 2.3 and tensorflow-io with TensorFlow
2.16; torchaudio and keras-hub gave up functions that steps used, and torchvision will; tensorflow-text and keras-hub
have no build for every Python and TensorFlow. The steps give the same values without them, through the libraries of
the base install.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any

INSTEAD: Mapping[str, str] = {
    "torchaudio.load": "soundfile",
    "torchvision.io": "pillow",
    "torchtext": "tokenizers",
    "tensorflow_io": "soundfile",
    "tensorflow_text": "tokenizers",
    "keras_hub.StartEndPacker": "tensorflow",
}
"""Each library that steps can do without, and what gives the same values where it cannot be used."""

_missed: ContextVar[list[str] | None] = ContextVar("missed", default=None)


def _torchaudio_load() -> None:
    import torchaudio

    if "soundfile" not in torchaudio.list_audio_backends():
        raise ImportError("its backends do not hold soundfile")


def _torchvision_io() -> None:
    from torchvision.io import decode_jpeg, decode_png  # noqa: F401


def _torchtext() -> None:
    import torchtext

    torchtext.disable_torchtext_deprecation_warning()  # its submodules warn on import that it has ended


def _tensorflow_io() -> None:
    import tensorflow as tf
    import tensorflow_io as tfio

    with tf.Graph().as_default():  # its operations are loaded at their first use; a graph alone starts no device
        tfio.audio.decode_flac(tf.constant(b""), dtype=tf.int16)


def _start_end_packer() -> None:
    import tensorflow as tf
    from keras_hub.layers import StartEndPacker

    with tf.init_scope(), tf.device("CPU:0"):  # outside a graph later releases go through Python, and by numbers alone
        ids = StartEndPacker(2, pad_value=1, dtype="int64")(tf.constant([[0]], tf.int64))
        words = StartEndPacker(2, pad_value="b", dtype="string")(tf.constant([["a"]]))
        if tf.convert_to_tensor(ids).dtype != tf.int64 or tf.convert_to_tensor(words).dtype != tf.string:
            raise TypeError("outside a graph it changes the type of what it packs")


_TRIALS: Mapping[str, Callable[[], Any]] = {
    "torchaudio.load": _torchaudio_load,
    "torchvision.io": _torchvision_io,
    "torchtext": _torchtext,
    "tensorflow_io": _tensorflow_io,
    "keras_hub.StartEndPacker": _start_end_packer,
}
"""How a library is tried for which an import is not enough."""


@cache
def why_not(library: str) -> str | None:
    """Why `library` cannot be used here, or None when it can. Loads it, since some are found and then fail to load."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of on loading is in the reason, or does not matter
            _TRIALS.get(library, lambda: importlib.import_module(library))()
    except Exception as error:  # a library built for another framework version fails in ways of its own
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def usable(*libraries: str) -> bool:
    """Whether all of `libraries` can be used here."""
    lacking = [library for library in libraries if why_not(library) is not None]
    told = _missed.get()
    if told is not None:
        told += lacking
    return not lacking


@contextmanager
def missed() -> Iterator[list[str]]:
    """Collects the libraries that steps, bound meanwhile, ask for and have to do without."""
    lacking: list[str] = []
    token = _missed.set(lacking)
    try:
        yield lacking
    finally:
        _missed.reset(token)


def torch_beside_tensorflow() -> None:
    """Lets torchvision load in a process that has loaded TensorFlow.

    torchvision loads triton, whose calls into LLVM would end up in TensorFlow's and end the process; so it is loaded
    here, with its own symbols first. Where triton was there before TensorFlow, nothing need be done.
    """
    if "tensorflow" not in sys.modules or "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        with suppress(Exception):  # torch does without it
            import triton  # noqa: F401
    finally:
        sys.setdlopenflags(flags)
