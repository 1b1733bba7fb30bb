"""Damage done to real files, as disks, networks and attackers do it; the same for the same generator."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000)
HEAD = 512
"""Where most damage goes: lengths, sizes and counts stand at the beginning of a file."""


def damaged(files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of the files, with one to four pieces of damage."""
    content = bytearray(files[int(rng.integers(len(files)))])
    for _ in range(int(rng.integers(1, 5))):
        if content:
            DAMAGES[int(rng.integers(len(DAMAGES)))](content, files, rng)
    return bytes(content)


def _place(content: bytearray, rng: np.random.Generator) -> int:
    most = len(content) if rng.random() < 0.5 else min(len(content), HEAD)
    return int(rng.integers(most))


def _bits(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        content[_place(content, rng)] ^= 1 << int(rng.integers(8))


def _number(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    """A length or a size of the file becomes an absurd one."""
    at, number = _place(content, rng), EXTREMES[int(rng.integers(len(EXTREMES)))]
    form = ("<I", ">I", "<H", ">H", "B")[int(rng.integers(5))]
    size = struct.calcsize(form)
    content[at : at + size] = struct.pack(form, number & (1 << 8 * size) - 1)


def _cut(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    del content[_place(content, rng) :]


def _gap(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    at = _place(content, rng)
    del content[at : at + int(rng.integers(1, 200))]


def _again(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    at = _place(content, rng)
    content[at:at] = content[at : at + int(rng.integers(1, 200))]


def _noise(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    at, size = _place(content, rng), int(rng.integers(1, 64))
    content[at : at + size] = rng.bytes(size)


def _zeros(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    at, size = _place(content, rng), int(rng.integers(1, 600))
    content[at : at + size] = bytes(min(size, len(content) - at))


def _splice(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    """The rest of another file: a page, a chunk or a frame that does not belong there."""
    other = files[int(rng.integers(len(files)))]
    start = int(rng.integers(len(other) + 1))
    at = _place(content, rng)
    if rng.random() < 0.5:
        content[at:] = other[start:]
    else:
        content[at:at] = other[start : start + int(rng.integers(1, 2000))]


Damage = Callable[[bytearray, Sequence[bytes], np.random.Generator], None]
DAMAGES: tuple[Damage, ...] = (_bits, _bits, _number, _number, _cut, _gap, _again, _noise, _zeros, _splice)
