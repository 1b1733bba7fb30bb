"""A small set of joined pictures, sounds and captions that the project draws itself: free, fast and learnable.

sounds/<class>/<id>.wav|flac      tone, sweep, noise, chord at 8, 16 and 22.05 kHz; pitch, level and length vary
pictures/<shape>/<id>.png|jpg     a circle, square, triangle or star; colour, ground, place and size vary
captions.txt                      one caption a record: "a red circle on a grey ground, with a loud rising sweep"
vocabulary.txt                    every word of the captions, one a line, after <pad> and <unk>
manifest.jsonl                    one line a record that joins them, with the labels
samples.json                      SHA-256 of each file, by which a later call knows its own files
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image, ImageDraw

from pipelines.draw import variates
from pipelines.errors import OutputError

RECORDS = 240
SOUND_CLASSES = ("tone", "sweep", "noise", "chord")
SHAPES = ("circle", "square", "triangle", "star")
COLOURS = {"red": (200, 40, 40), "green": (40, 150, 60), "blue": (50, 80, 200), "yellow": (225, 200, 50)}
GROUNDS = {"black": (25, 25, 25), "grey": (128, 128, 128), "white": (235, 235, 235)}
RATES_HZ = (8000, 16000, 22050)
_MARKER = "samples.json"
_FINER = 4  # shapes are drawn this many times larger and averaged down, for smooth edges


def make_samples(folder: Path, seed: int = 0) -> dict[str, int]:
    """Write the sample set to `folder` and return how many files of each kind it holds.

    The same seed and library versions give the same bytes. A file that is already there is
    replaced only when an earlier call wrote it; otherwise OutputError, and nothing is written.
    """
    folder = Path(folder)
    files = _files(seed)
    files[_MARKER] = json.dumps({name: _sha256(data) for name, data in files.items()}, indent=0).encode() + b"\n"
    stale = _own_files(folder, files)
    try:
        for name, data in files.items():
            _write(folder / name, data)
        for name in stale - files.keys():
            (folder / name).unlink()
    except OSError as e:
        raise OutputError(f"cannot write the samples to {folder}: {e.strerror or e}") from e
    return {
        "records": RECORDS,
        "sounds": sum(name.startswith("sounds/") for name in files),
        "pictures": sum(name.startswith("pictures/") for name in files),
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _own_files(folder: Path, planned: Mapping[str, bytes]) -> set[str]:
    """Files an earlier call wrote and nobody changed; OutputError when another file is in the way."""
    try:
        known = json.loads((folder / _MARKER).read_text())
        if not isinstance(known, dict):
            raise ValueError("not an object")
    except (OSError, ValueError):
        known = {}
    unchanged = {name for name, sha in known.items() if (folder / name).is_file() and _hash_of(folder / name) == sha}
    for name, data in planned.items():
        path = folder / name
        mine = name in unchanged or (name == _MARKER and bool(known))
        if path.exists() and not mine and not (path.is_file() and path.read_bytes() == data):
            raise OutputError(f"{path} is there already and is not a sample file; choose another folder or remove it")
    return unchanged


def _hash_of(path: Path) -> str:
    return _sha256(path.read_bytes())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _files(seed: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    lines, captions = [], []
    for i, unit in enumerate(variates(seed, 0, np.arange(RECORDS), "samples", 16)):
        key = f"{i:04d}"
        picture, looks = _picture(i, unit[:8], seed)
        sound, sounds_like = _sound(i, unit[8:], seed)
        caption = f"{looks['sentence']}, with a {sounds_like['sentence']}"
        picture_name = f"pictures/{looks['shape']}/{key}.{'jpg' if i % 3 == 2 else 'png'}"
        sound_name = f"sounds/{sounds_like['class']}/{key}.{'flac' if i % 4 == 3 else 'wav'}"
        files[picture_name] = _encode_picture(picture, picture_name)
        files[sound_name] = _encode_sound(sound, sounds_like["rate_hz"], sound_name)
        captions.append(caption)
        lines.append(
            {
                "id": key,
                "picture": picture_name,
                "sound": sound_name,
                "caption": caption,
                "shape": looks["shape"],
                "colour": looks["colour"],
                "sound_class": sounds_like["class"],
            }
        )
    words = sorted({word for caption in captions for word in caption.replace(",", " ,").split()})
    files["captions.txt"] = "".join(f"{caption}\n" for caption in captions).encode()
    files["vocabulary.txt"] = "".join(f"{word}\n" for word in ("<pad>", "<unk>", *words)).encode()
    files["manifest.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return files


def _pick(choices: Mapping[str, Any], unit: float) -> str:
    return list(choices)[int(unit * len(choices))]


def _picture(i: int, unit: npt.NDArray[np.float64], seed: int) -> tuple[Image.Image, dict[str, str]]:
    """A picture and what it shows; `unit` holds the eight unit variates that decide it."""
    shape = SHAPES[i % len(SHAPES)]
    colour, ground = _pick(COLOURS, unit[0]), _pick(GROUNDS, unit[1])
    width, height = (64 + int(u * 65) for u in unit[2:4])
    radius = (0.16 + 0.2 * unit[4]) * min(width, height)
    centre_x = radius + unit[5] * (width - 2 * radius)
    centre_y = radius + unit[6] * (height - 2 * radius)
    turn = unit[7] * np.pi if shape != "square" else 0.0
    canvas = Image.new("RGB", (width * _FINER, height * _FINER), GROUNDS[ground])
    corners = _outline(shape, turn) * radius + (centre_x, centre_y)
    ImageDraw.Draw(canvas).polygon([(x * _FINER, y * _FINER) for x, y in corners], fill=COLOURS[colour])
    levels = np.asarray(canvas.reduce(_FINER), np.float64)
    grain = variates(seed, 0, np.arange(height), f"grain {i}", width)[..., None]
    levels = np.clip(np.rint(levels + 16 * (grain - 0.5)), 0, 255).astype(np.uint8)
    size = "large" if unit[4] >= 0.5 else "small"
    sentence = f"a {size} {colour} {shape} on a {ground} ground"
    return Image.fromarray(levels), {"shape": shape, "colour": colour, "sentence": sentence}


def _outline(shape: str, turn: float) -> npt.NDArray[np.float64]:
    """Corners of a shape in the unit circle, turned by `turn` radians: float64[corners, 2]."""
    corners = {"circle": 64, "square": 4, "triangle": 3, "star": 10}[shape]
    angle = turn + np.pi / 4 + 2 * np.pi * np.arange(corners) / corners
    reach = np.where(np.arange(corners) % 2, 0.42, 1.0) if shape == "star" else np.ones(corners)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)


def _sound(i: int, unit: npt.NDArray[np.float64], seed: int) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """A waveform and what it is; `unit` holds the eight unit variates that decide it."""
    kind = SOUND_CLASSES[(i // len(SHAPES)) % len(SOUND_CLASSES)]
    rate_hz = RATES_HZ[int(unit[0] * len(RATES_HZ))]
    seconds = 0.6 + 0.6 * unit[1]
    loud = unit[2] >= 0.5
    level = (0.3 if loud else 0.05) * (1 + unit[3])
    pitch_hz = 200.0 * 2 ** (2 * unit[4])
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    adjective = ""
    if kind == "tone":
        wave, noun = np.sin(2 * np.pi * pitch_hz * time), "tone"
    elif kind == "sweep":
        octaves = 2.0 if unit[5] >= 0.5 else -2.0
        start_hz = pitch_hz if octaves > 0 else 4 * pitch_hz
        rise = octaves / seconds  # octaves a second; the phase is the integral of the frequency
        wave = np.sin(2 * np.pi * start_hz * (2 ** (rise * time) - 1) / (rise * np.log(2)))
        adjective, noun = ("rising " if octaves > 0 else "falling "), "sweep"
    elif kind == "chord":
        minor = unit[5] >= 0.5
        tones = [2 * np.pi * pitch_hz * 2 ** (semitones / 12) for semitones in (0, 3 if minor else 4, 7)]
        wave = np.sum([np.sin(tone * time) for tone in tones], axis=0) / 3
        adjective, noun = ("minor " if minor else "major "), "chord"
    else:
        wave = 2 * variates(seed, 0, np.arange(len(time)), f"noise {i}", 1)[:, 0] - 1
        bursts = 2 + int(unit[5] * 4)
        wave, noun = wave * (np.sin(np.pi * bursts * time / seconds) ** 2), "noise"
    edge = np.clip(np.minimum(time, time[::-1]) / 0.02, 0, 1)  # 20 ms in and out, against clicks
    sentence = f"{'loud' if loud else 'quiet'} {adjective}{noun}"
    return level * edge * wave, {"class": kind, "rate_hz": rate_hz, "sentence": sentence}


def _encode_picture(picture: Image.Image, name: str) -> bytes:
    held = io.BytesIO()
    if name.endswith(".jpg"):
        picture.save(held, "JPEG", quality=90)
    else:
        picture.save(held, "PNG")
    return held.getvalue()


def _encode_sound(wave: npt.NDArray[np.float64], rate_hz: int, name: str) -> bytes:
    held = io.BytesIO()
    # Ogg is left out: libsndfile gives each stream a random serial number
    samples = np.rint(wave * 32767).astype(np.int16)
    soundfile.write(held, samples, rate_hz, format="FLAC" if name.endswith(".flac") else "WAV", subtype="PCM_16")
    return held.getvalue()
