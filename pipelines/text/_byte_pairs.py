"""The two files of a byte-level byte-pair tokenizer: an encoder (JSON, token to id) and merges (two symbols a line).

Each byte is one of 256 characters; in CLIP's files the last symbol of a word ends in </w>.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from pipelines.errors import SpecError
from pipelines.text._files import read, text_of
from pipelines.text._names import encoder

WORD_END = "</w>"
Merges = list[tuple[str, str]]
# what is in the pieces of a text: on settled characters these classes of `re` are letters, numbers, other signs
LETTERS, NUMBER, SIGNS = r"[^\W\d_]+", r"\d", r"(?:[^\s\w]|_)+"


@cache
def byte_symbols(end: str = "") -> frozenset[str]:
    """The 256 characters that stand for the bytes; with `end`, each also with it."""
    alone = _symbols_in_order()
    return frozenset([*alone, *(c + end for c in alone)])


def byte_naming(encoder: Mapping[str, int], special: Collection[str]) -> Callable[[int], str]:
    """From an id to its token as text; a byte that is no character by itself stands as \\x and its number."""
    byte_of = {symbol: number for number, symbol in enumerate(_symbols_in_order())}
    tokens = {number: token for token, number in encoder.items()}

    def name(number: int) -> str:
        token = tokens[number]
        if token in special:
            return token
        ends = token.endswith(WORD_END)
        body = token.removesuffix(WORD_END)
        if not byte_of.keys() >= set(body):
            return token
        return bytes(byte_of[c] for c in body).decode("utf-8", "backslashreplace") + " " * ends

    return name


def _symbols_in_order() -> list[str]:
    """The character that stands for each byte, 0 to 255: printable ones for themselves, the others from U+0100 on."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(number) if number in plain else chr(next(others)) for number in range(256)]


def pair(encoder: Path, merges: Path, end: str = "") -> tuple[dict[str, int], Merges]:
    """Both files, read and found to belong together; SpecError where they do not, or one is something else."""
    ids, pairs = read(encoder, _ENCODERS[end]), read(merges, _MERGES[end])
    for a, b in pairs:
        if a + b not in ids:
            raise SpecError(f"{encoder} does not belong to {merges}: it has no {a + b!r}")
    return ids, pairs


def as_torchtext(make: Callable[[str, str], Any], encoder: dict[str, int], merges: Merges) -> Any:
    """`make(encoder file, merges file)` on files in the form that torchtext reads: it drops the first and last line."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "encoder.json"), Path(folder, "vocab.bpe")
        paths[0].write_bytes(encoder_file(encoder))
        paths[1].write_bytes(merges_file(merges))
        return make(*map(str, paths))


def encoder_file(encoder: dict[str, int]) -> bytes:
    """The content of an encoder file."""
    return (json.dumps(encoder) + "\n").encode()


def merges_file(merges: Merges) -> bytes:
    """The content of a merges file."""
    return "".join(f"{line}\n" for line in ("#version: 0.2", *map(" ".join, merges))).encode()


def _encoder(path: Path, end: str) -> dict[str, int]:
    meant = f"a {'CLIP' if end else 'GPT-2'} encoder (a JSON object of token: id)"
    held = encoder(path, meant)
    needed = byte_symbols(end)
    if missing := sorted(needed - held.keys()):
        kind = f"bytes, alone and before {end}," if end else "bytes,"
        raise SpecError(
            f"{path} is not {meant}: it lacks {len(missing)} of the {len(needed)} {kind} {missing[0]!r} first"
        )
    return held


def _merges(path: Path, end: str) -> Merges:
    meant = f"a list of {'CLIP' if end else 'byte-level'} merges (two symbols a line)"
    lines = text_of(path, meant).split("\n")
    known, merges = set(byte_symbols(end)), []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        symbols = line.split(" ")
        if len(symbols) != 2 or not known.issuperset(symbols):
            raise SpecError(f"{path} is not {meant}: line {number} is {line[:40]!r}")
        known.add("".join(symbols))
        merges.append((symbols[0], symbols[1]))
    return merges


# one function each, since `read` keeps what a function made of a file
_ENCODERS: dict[str, Callable[[Path], dict[str, int]]] = {end: partial(_encoder, end=end) for end in ("", WORD_END)}
_MERGES: dict[str, Callable[[Path], Merges]] = {end: partial(_merges, end=end) for end in ("", WORD_END)}
