"""Parts of long sound files: only the part is read, and given as a WAV file of its own."""

from __future__ import annotations

import io
import math
from typing import Any

from pipelines.errors import RecordError

# integers stay integers of the same depth; 8 bits fit into 16, and all else is decoded to float32
_KEPT = {"PCM_S8": "PCM_16", "PCM_U8": "PCM_16", "PCM_16": "PCM_16", "PCM_24": "PCM_24", "PCM_32": "PCM_32"}
_EXACT = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC")  # where libsndfile's seek lands on the sample
_BLOCK = 1 << 16


def window(path: str, offset: Any, duration: Any, shown: str) -> bytes:
    """The sound from `offset` seconds on for `duration` seconds, as a WAV file's bytes; RecordError says what is wrong.

    None stands for the beginning and for all that is left. Sample n is the one nearest to n / rate.
    """
    import soundfile

    begin, length = _seconds("offset", offset, 0.0), _seconds("duration", duration, math.inf)
    if length == 0:
        raise RecordError("the window's duration is 0 s")
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            first = round(begin * rate)
            count = -1 if math.isinf(length) else round(length * rate)
            subtype = _KEPT.get(file.subtype, "FLOAT")
            kind = {"PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32"}.get(subtype, "float32")
            _go_to(file, first)
            sound = file.read(count, dtype=kind, always_2d=True)
            told = file.frames / rate
    except OSError as error:
        raise RecordError(f"cannot read {shown}: {error.strerror or error}") from error
    except RuntimeError as error:
        reason = getattr(error, "error_string", str(error))
        raise RecordError(f"libsndfile cannot read a window of {shown}: {reason}") from error
    if not len(sound) or len(sound) < count:
        raise RecordError(
            f"the window from {begin:g} s for {length:g} s goes past the end of {shown}, which lasts {told:g} s"
        )
    made = io.BytesIO()
    soundfile.write(made, sound, rate, format="WAV", subtype=subtype)
    return made.getvalue()


def _seconds(what: str, value: Any, default: float) -> float:
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise RecordError(f"the window's {what} must be a number of seconds >= 0, got {value!r}")
    return number


def _go_to(file: Any, first: int) -> None:
    """Move to a sample. In MP3 and Ogg, whose packets lean on earlier ones, a seek lands beside it: they are read."""
    if file.format in _EXACT:
        file.seek(min(first, file.frames))
        return
    while first > 0:
        read = len(file.read(min(_BLOCK, first), dtype="float32", always_2d=True))
        if not read:
            return
        first -= read
