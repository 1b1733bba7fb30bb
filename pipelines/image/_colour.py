"""What each change of levels means, once for the steps of their own and for the automatic augmentations.

All take float32 pictures with levels in [0, bound], bound 255 or 1, and give the same, not yet rounded; an amount is
float32[..., 1, 1, 1], one a record. Pictures have 1 or 3 channels.
"""

from __future__ import annotations

from typing import Any

from pipelines.image._maths import Maths

LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
"""ITU-R BT.601's 0.299, 0.587, 0.114 to 16 bits, as Pillow has them: of uint8 the sum is exact in float32."""


def channels(m: Maths, levels: Any) -> list[Any]:
    """The channels of a picture, each with its axis."""
    return [m.part(levels, m.channel, i, i + 1) for i in range(int(levels.shape[m.channel]))]


def luma(m: Maths, levels: Any) -> Any:
    """The grey picture, of one channel."""
    planes = channels(m, levels)
    if len(planes) == 1:
        return levels
    red, green, blue = planes
    return red * LUMA[0] + green * LUMA[1] - blue * -LUMA[2]


def blend(m: Maths, levels: Any, other: Any, amount: Any, bound: float) -> Any:
    """From `other`, amount 0, to the picture, amount 1, and beyond."""
    return m.clip(levels * amount + other * (1 - amount), 0.0, bound)


def brightness(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Away from black."""
    return m.clip(levels * amount, 0.0, bound)


def contrast(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Away from the mean of the grey picture. It is summed in whole 2^-16 levels (2^-24 of 1), so in any order."""
    fine = 2.0**16 if bound > 1 else 2.0**24
    grey = m.floor(m.to(luma(m, levels), "float64") * fine + 0.5)
    mean = m.total(grey) * (1 / m.pixels(levels))
    return blend(m, levels, m.to(mean * (1 / fine), "float32"), amount, bound)


def saturation(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Away from the grey picture."""
    return levels if levels.shape[m.channel] == 1 else blend(m, levels, luma(m, levels), amount, bound)


def hue(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Turns the hue by a share of the circle; the largest and the smallest channel's levels stay what they are."""
    if levels.shape[m.channel] == 1:
        return levels
    red, green, blue = channels(m, levels)
    high, low = m.maximum(m.maximum(red, green), blue), m.minimum(m.minimum(red, green), blue)
    chroma = high - low
    over = m.where(chroma == 0, chroma + 1, chroma)
    # in sixths of the circle, from red
    green_most = m.where(high == green, (blue - red) / over + 2, (red - green) / over + 4)
    sixth = m.where(high == red, (green - blue) / over, green_most)
    turned = []
    for start in (5, 3, 1):
        place = sixth - (amount * -6.0 - start)
        place = place - m.floor(place * (1 / 6)) * 6
        turned.append(high - chroma * m.clip(m.minimum(place, 4 - place), 0.0, 1.0))
    return m.where(amount == 0, levels, m.join(turned, m.channel))


def sharpness(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Away from the picture smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13; the outermost pixels stay."""
    smooth, inner = levels, None
    for axis in (m.height, m.width):
        last = m.size(levels, axis) - 1
        places = m.places(last + 1, levels)
        before, after = (m.take(smooth, m.clip(places + step, 0, last), axis) for step in (-1, 1))
        smooth = (before + after) * 0.5 - smooth * -0.5
        inside = m.along((places > 0) & (places < last), axis)
        inner = inside if inner is None else inner & inside
    smooth = smooth * (4 / 13) - levels * (-4 / 13)  # what was summed is a quarter
    return m.where(inner, blend(m, levels, smooth, amount, bound), levels)


def solarize(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Turns over the levels from a threshold on."""
    return m.where(levels >= amount, bound - levels, levels)


def posterize(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Keeps as many levels as the amount says, a power of two, each rounded down to the next one kept."""
    scale = amount * (1 / 256) if bound > 1 else amount
    kept = m.floor(levels * scale)
    return (kept - m.to(kept == amount, "float32")) / scale  # 1 is not a level above the others


def invert(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Turns over all levels."""
    return bound - levels


def autocontrast(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Stretches each channel, so that its smallest level becomes 0 and its largest the bound."""
    low = m.lowest(levels)
    span = m.highest(levels) - low
    stretched = (levels - low) * bound / m.where(span == 0, span + 1, span)
    return m.where(span == 0, levels, stretched)


def equalize(m: Maths, levels: Any, amount: Any, bound: float) -> Any:
    """Spreads each channel's levels so that they are about equally frequent, in 256 whole levels."""
    whole = m.to(levels if bound > 1 else m.floor(levels * 255 + 0.5), "int64")
    found = m.count(whole)
    upto = m.cumulate(found)
    before = upto - found
    # a 255th of all pixels but those of the highest level
    step = m.largest(m.where(found > 0, before, before * 0)) // 255
    spread = m.clip((before + step // 2) // m.maximum(step, step * 0 + 1), 0, 255)
    table = m.to(m.where(step == 0, m.places(256, levels), spread), "float32")
    return m.look_up(table if bound > 1 else table * (1 / 255), whole)
