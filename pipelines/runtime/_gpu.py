"""TensorFlow beside others on a GPU."""

from __future__ import annotations

from contextlib import suppress


def share_gpus() -> None:
    """Let TensorFlow take GPU memory as it needs it; its default is all of it at the first op."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # the user's own program has used the GPU already, with settings of its own
            tf.config.experimental.set_memory_growth(gpu, True)
