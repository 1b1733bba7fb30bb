"""Absurd headers and decompression bombs are refused before memory is taken for them, on both frameworks.

Run as a program, this file decodes them all under a limit on memory and prints what became of each.
"""

from __future__ import annotations

import io
import json
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOM = 400 << 20
"""Bytes of address space beyond what the loaded frameworks have; each bomb would take gigabytes."""
SIDE = 60_000
MOST_PIXELS = 4_000_000
MOST_SAMPLES = 5_000_000


def picture(size: tuple[int, int] = (16, 16), **how: Any) -> bytes:
    Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(*size, 3)).save(
        file := io.BytesIO(), **how
    )
    return file.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int) -> bytes:
    """A PNG that tells of this size, with some rows of zeros."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")


def tiff(width: int, height: int, tile: int | None = None) -> bytes:
    """A gray, deflated TIFF, whose one tile is `tile` x `tile`."""
    packed = zlib.compress(bytes(1 << 20))
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    if tile is None:
        tags += [(273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, len(packed))]
    else:
        tags += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 8), (325, 4, 1, len(packed))]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def two_headers() -> bytes:
    """The first tells of the true size, the second, behind the pixels, of a small one."""
    held, small = png(SIDE, SIDE), png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    return held[:-12] + small + held[-12:]


def many_scans() -> bytes:
    held = picture(format="JPEG", progressive=True)
    start = held.index(b"\xff\xda")
    end = held.index(b"\xff", start + 2)
    return held[:start] + held[start:end] * 5000 + held[start:]


def put(content: bytes, at: int, form: str, *values: int) -> bytes:
    return content[:at] + struct.pack(form, *values) + content[at + struct.calcsize(form) :]


def jpeg() -> bytes:
    held = picture(format="JPEG")
    return put(held, held.index(b"\xff\xc0") + 5, ">HH", SIDE, SIDE)


def gif(frame: bool) -> bytes:
    """Of a huge screen, or of a small one with a huge frame."""
    held = picture(format="GIF")
    behind = 13 + 3 * 2 ** ((held[10] & 7) + 1)  # the colours
    return put(held, held.index(b",", behind) + 5, "<HH", SIDE, SIDE) if frame else put(held, 6, "<HH", SIDE, SIDE)


PICTURES: dict[str, Callable[[], bytes]] = {
    "png": lambda: png(SIDE, SIDE),
    "png, two headers": two_headers,
    "jpeg": jpeg,
    "jpeg, scans": many_scans,
    "gif": lambda: gif(False),
    "gif, frame": lambda: gif(True),
    "bmp": lambda: put(picture(format="BMP"), 18, "<ii", SIDE, SIDE),
    "webp": lambda: b"RIFF" + struct.pack("<I", 40) + b"WEBPVP8X\n\0\0\0\2\0\0\0" + b"\xff\x3f\0\xff\x3f\0" + bytes(20),
    "tiff": lambda: tiff(SIDE, SIDE),
    "tiff, tile": lambda: tiff(16, 16, 48_000),
    "ico": lambda: b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x18\0" + struct.pack("<II", 1 << 16, 22) + png(11_000, 11_000),
    "ppm": lambda: b"P6 60000 60000 255\n" + bytes(1000),
    "jpeg 2000": lambda: put(picture(format="JPEG2000", no_jp2=True), 8, ">II", SIDE, SIDE),
}


def sound(form: str, subtype: str, samples: int = 4000, channels: int = 1) -> bytes:
    import soundfile

    soundfile.write(held := io.BytesIO(), np.zeros((samples, channels), np.int16), 8000, format=form, subtype=subtype)
    return held.getvalue()


def flac(told: int, samples: int = 4000) -> bytes:
    """Silence, whose header tells of another length; 0 is that of a stream which does not know its own."""
    held = sound("FLAC", "PCM_16", samples)
    packed = int.from_bytes(held[18:26], "big") >> 36 << 36 | told
    return put(held, 18, ">Q", packed)


def ogg() -> bytes:
    """The last page tells of a sample at the end of time, with a right checksum."""
    from pipelines.audio._crc import ogg_crc32

    held = sound("OGG", "VORBIS")
    at = held.rindex(b"OggS")
    page = put(put(held[at:], 6, "<q", 1 << 40), 22, "<I", 0)
    return held[:at] + put(page, 22, "<I", ogg_crc32(page))


def mp3() -> bytes:
    held = sound("MP3", "MPEG_LAYER_III", 40_000)
    at = max(held.find(b"Xing"), held.find(b"Info"))
    return put(held, at + 8, ">I", 0x7FFFFFFF)


SOUNDS: dict[str, Callable[[], bytes]] = {
    "flac, absurd length": lambda: flac((1 << 36) - 1),
    "flac, long silence of unknown length": lambda: flac(0, 40_000_000),
    "flac, long silence": lambda: sound("FLAC", "PCM_16", 40_000_000),
    "ogg": ogg,
    "mp3": mp3,
    "wav, absurd length and channels": lambda: put(sound("WAV", "PCM_16"), 22, "<H", 1024),
    "au of 1024 channels": lambda: struct.pack(">6I", 0x2E736E64, 24, 0xFFFFFFFF, 3, 8000, 1024) + bytes(100_000_000),
}


def main() -> None:
    """Decodes each in both frameworks and prints the errors as JSON."""
    import tensorflow as tf

    from pipelines.audio.decode import Decode as DecodeSound
    from pipelines.image.decode import Decode as DecodePicture
    from pipelines.spec import BYTES

    steps = [(DecodePicture(max_pixels=MOST_PIXELS), PICTURES), (DecodeSound(max_samples=MOST_SAMPLES), SOUNDS)]
    good = [picture(format="PNG"), sound("FLAC", "PCM_16")]
    cases = []
    for (step, made), sane in zip(steps, good, strict=True):
        for kernel, fed in ((step.bind_torch(BYTES), bytes), (step.bind_tensorflow(BYTES), tf.constant)):
            kernel(fed(sane))  # so that what is loaded once is loaded
            cases += [(name, kernel, fed(make())) for name, make in made.items()]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))
    found: dict[str, list[str]] = {}
    for name, kernel, raw in cases:
        try:
            kernel(raw)
        except Exception as error:
            found.setdefault(name, []).append(f"{type(error).__name__}: {error}")
        else:
            found.setdefault(name, []).append("decoded")
    print(json.dumps(found))


REFUSED = re.compile(
    r"max_pixels|max_side|max_samples|max_seconds|two headers|more than 100 scans|cut short"
    r"|exceeds limit of 178956970 pixels"
)
HARMLESS = {"ogg", "wav, absurd length and channels"}
"""libsndfile goes by what is there."""


def test_bombs_are_refused_before_memory_is_taken() -> None:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == PICTURES.keys() | SOUNDS.keys()
    for name, errors in found.items():
        assert len(errors) == 2
        for error in errors:
            assert REFUSED.search(error) or (error == "decoded" and name in HARMLESS), (name, error)
        assert (errors[0] == "decoded") == (errors[1] == "decoded"), name


if __name__ == "__main__":
    main()
