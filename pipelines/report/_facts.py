"""What the bytes of a file say of themselves, from their header: a picture's size, a sound's rate and length."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from pipelines.audio._headers import Kind, inspect
from pipelines.errors import RecordError
from pipelines.image._header import read_header


@dataclass(frozen=True)
class PictureFacts:
    """Format, size in pixels as stored, and Pillow's name of the mode: RGB, L, P .."""

    format: str
    width: int
    height: int
    mode: str


@dataclass(frozen=True)
class SoundFacts:
    """Format with its coding, sampling rate, number of channels and length."""

    format: str
    rate_hz: int
    channels: int
    seconds: float


Facts = PictureFacts | SoundFacts


def facts_of(data: bytes) -> Facts | None:
    """What a file is; None for what is neither a picture nor a sound, RecordError for one that is damaged."""
    return picture_facts(data) or sound_facts(data)


def picture_facts(data: bytes) -> PictureFacts | None:
    """What a picture's header says; None for what is no picture, RecordError for one that is damaged."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise RecordError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a large picture is a fact here, and no pixel is decoded
            with Image.open(io.BytesIO(data)) as picture:
                found = PictureFacts(picture.format or "?", picture.width, picture.height, picture.mode)
    except UnidentifiedImageError:
        return None
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise RecordError(f"the picture cannot be read: {error}") from error
    read_header(data)
    return found


def sound_facts(data: bytes) -> SoundFacts | None:
    """What a sound's header says; None for what is no sound, RecordError for one that is evidently cut short."""
    import soundfile

    header = inspect(data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            frames = header.frames if header.kind is not Kind.HOST else file.frames
            form = f"{file.format} {file.subtype}"
            return SoundFacts(form, file.samplerate, file.channels, frames / file.samplerate)
    except soundfile.LibsndfileError:
        return None
