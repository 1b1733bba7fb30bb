"""Ids of tokens by name, from whatever file a tokenizer has them in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import SpecError, nearest
from pipelines.text._files import read, text_of, vocabulary


def token_ids(path: Path) -> Mapping[str, int]:
    """The tokens of a vocabulary (one a line), an encoder (.json) or a SentencePiece model, and their ids."""
    return read(path, _token_ids)


def _token_ids(path: Path) -> Mapping[str, int]:
    if path.suffix == ".json":
        return encoder(path, "an encoder (a JSON object of token: id)")
    with path.open("rb") as file:
        is_model = file.read(1) == b"\n"  # no vocabulary begins so, since no token is empty
    if is_model:
        model = processor(path)
        return {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    return {token: i for i, token in enumerate(vocabulary(path))}


def encoder(path: Path, meant: str) -> dict[str, int]:
    """The tokens and ids of a JSON file, or SpecError where it is not what is meant."""
    try:
        held = json.loads(text_of(path, meant))
    except json.JSONDecodeError as error:
        raise SpecError(f"{path} is not {meant}: line {error.lineno}: {error.msg}") from error
    if not isinstance(held, dict) or not all(type(i) is int and i >= 0 for i in held.values()):
        raise SpecError(f"{path} is not {meant}")
    if len(set(held.values())) < len(held):
        raise SpecError(f"{path} is not {meant}: two tokens have the same id")
    return held


def processor(path: Path) -> Any:
    """The sentencepiece library's processor of a model file, or SpecError where it is none."""
    from sentencepiece import SentencePieceProcessor

    try:
        model = path.read_bytes()
        if not model:
            raise SpecError(f"{path} is not a SentencePiece model: it is empty")
        return SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError, ValueError) as error:
        raise SpecError(f"{path} is not a SentencePiece model") from error


def id_of(token: str, path: Path) -> int:
    """The id of a token in a file, or SpecError with the nearest token."""
    known = token_ids(path)
    if token not in known:
        raise SpecError(f"{token!r} is not in {path}{nearest(token, list(known)[:1000])}")
    return known[token]


def kept_whole(asked: tuple[str, ...] | None, usual: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Tokens that stay whole in a raw text: those `asked` for, which the file must have, or the `usual` ones it has."""
    if asked is None:
        known = token_ids(path)
        return tuple(token for token in usual if token in known)
    for token in asked:
        id_of(token, path)
    return asked
