"""Colours to grey."""

from __future__ import annotations

from typing import Any, Literal

from pipelines.errors import SpecError
from pipelines.image import _colour
from pipelines.image._levels import SometimesStep, need_levels
from pipelines.image._maths import Maths
from pipelines.spec import Axis, Spec, picture
from pipelines.step import Example, Identical


class Grayscale(SometimesStep):
    """Makes a picture grey, always or by chance.

    Takes  uint8[..., height, width, channel] or float32 in [0, 1]   1 or 3 channels
    Gives  the same type and range; out = (19595 red + 38470 green + 7471 blue) / 65536 in each channel, uint8
           rounded half up

    `channels` is 1, or 3 equal ones. `probability` is the share of records that become grey; below 1 the number of
    channels must stay. When serving, only a probability of 1 does anything.
    Source: ITU-R BT.601 luma, 0.299, 0.587, 0.114 in Pillow's 16 bits; of uint8 it is Pillow's convert("L"), exactly.
    torchvision's rgb_to_grayscale has 0.2989 and cuts uint8 off, tf.image.rgb_to_grayscale too: up to a level darker.
    """

    channels: Literal[1, 3] = 3

    agreement = Identical("the same float32 operations in the same order; of uint8 they are exact")
    examples = (
        Example(picture()),
        Example(picture(), {"channels": 1}),
        Example(picture(17, 11), {"probability": 0.4}),
        Example(picture(None, None, 1), {"channels": 3}),
        Example(picture(dtype="float32"), {"channels": 1}),
        Example(picture(9, 8, dtype="float32"), {"probability": 0.5}),
    )

    def out_spec(self, x: Spec) -> Spec:
        need_levels(x)
        if self.probability < 1 and x.size("channel") != self.channels:
            raise SpecError(f"probability below 1: expected channels: {x.size('channel')}, got {self.channels}")
        return x.but(axes=(*x.axes[:-1], Axis("channel", self.channels)))

    def always(self, m: Maths, levels: Any, bound: float) -> Any:
        return m.join([_colour.luma(m, levels)] * self.channels, m.channel)
