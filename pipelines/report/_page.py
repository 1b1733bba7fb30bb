"""One self-contained HTML page: text, tables, pictures, sounds and coloured tokens, which opens offline.

Everything that comes from data or configs goes through Jinja's escaping, so text never becomes markup.
"""

from __future__ import annotations

import base64
import io
import warnings
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pipelines.errors import UserError
from pipelines.sinks._files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 96


@dataclass(frozen=True)
class Words:
    """A paragraph; `mono` keeps its spaces and lines."""

    kind: ClassVar[str] = "words"
    text: str
    mono: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings; numbers stand to the right."""

    kind: ClassVar[str] = "table"
    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Picture:
    """A PNG file's bytes, what it shows in words, and a line under it.

    `pixelated` shows each pixel as a square, `width` at so many pixels of the screen rather than one for one.
    """

    kind: ClassVar[str] = "picture"
    png: bytes
    alt: str
    caption: str = ""
    pixelated: bool = False
    width: int | None = None

    @property
    def uri(self) -> str:
        return _uri("image/png", self.png)


@dataclass(frozen=True)
class Sound:
    """A WAV file's bytes with a player."""

    kind: ClassVar[str] = "sound"
    wav: bytes
    caption: str = ""

    @property
    def uri(self) -> str:
        return _uri("audio/wav", self.wav)


@dataclass(frozen=True)
class Pieces:
    """Tokens side by side in changing colours, each over a small line, such as its id."""

    kind: ClassVar[str] = "pieces"
    tokens: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """Blocks side by side, which wrap where the window is narrow."""

    kind: ClassVar[str] = "row"
    blocks: Sequence[Block]


Block: TypeAlias = Words | Table | Picture | Sound | Pieces | Row


@dataclass(frozen=True)
class Section:
    """Blocks under a heading, with sections of its own; closed ones open with a click."""

    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = field(default=())
    closed: bool = False


def render_page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page as HTML: no script, no address but those of its own data."""
    return str(_template("page.html").render(title=title, lead=lead, sections=sections))


def render_blocks(blocks: Sequence[Block]) -> str:
    """A fragment with its own style, as a notebook shows it."""
    return str(_template("fragment.html").render(blocks=blocks))


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page whole or not at all.

    Raises:
        UserError: the page cannot be written there.
    """
    page = render_page(title, lead, sections)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, page)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A matplotlib figure of so many inches, which no window and no global state knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def figure_png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for what the font lacks
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def pixels_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """uint8[height, width] or [height, width, channel 1, 3 or 4] as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels).save(file, format="PNG")
    return file.getvalue()


def samples_wav(samples: npt.NDArray[Any], rate_hz: int) -> bytes:
    """float[time] or [channel, time] amplitudes in [-1, 1] as a WAV file of 16 bits; what is louder is cut off."""
    channels = np.atleast_2d(samples)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes((np.clip(channels.T, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _template(name: str) -> Any:
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("pipelines.report", "_pages")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(name)
