"""One sentence for a picture without pixels, in either framework."""

from __future__ import annotations

from typing import Any

from pipelines.errors import RecordError
from pipelines.guard import after

_NO_PIXELS = "the picture has no pixels"


def need_pixels_torch(pictures: Any) -> Any:
    """The pictures [..., channel, height, width]; RecordError where they have no pixels."""
    if 0 in pictures.shape[-2:]:
        raise RecordError(_NO_PIXELS)
    return pictures


def need_pixels_tensorflow(pictures: Any) -> Any:
    """The pictures [..., height, width, channel], which fail where they have no pixels."""
    import tensorflow as tf

    return after([tf.debugging.assert_positive(tf.shape(pictures)[-3:-1], _NO_PIXELS)], pictures)
