"""Token ids by way of a table of the pieces seen before.

Words repeat: most of a text's pieces were tokenized already, and a look-up is many times faster
than any tokenizer. A text is cut only where its tokenizer always cuts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Ids = Callable[[str], list[int]]
_PIECES = 200_000  # about 50 MB when full
_LONGEST = 32  # longer pieces seldom come again


class _Table(dict[str, list[int]]):
    """Ids of the pieces seen so far; safe in threads, since a piece always gets the same ids."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def __missing__(self, piece: str) -> list[int]:
        ids = self._ids(piece)
        if len(piece) <= _LONGEST and len(self) < _PIECES:
            self[piece] = ids
        return ids


def by_pieces(safe: str, cut: str, piece_ids: Ids, text_ids: Ids) -> Ids:
    """A tokenizer of texts: a text that matches `safe` as a whole is cut into all matches of `cut`.

    `piece_ids` gives the ids of a piece, `text_ids` those of a text that is not safe to cut.
    """
    is_safe, pieces = re.compile(safe).fullmatch, re.compile(cut).findall
    table = _Table(piece_ids)

    def ids(text: str) -> list[int]:
        if not is_safe(text):
            return text_ids(text)
        found: list[int] = []
        for piece in pieces(text):
            found += table[piece]
        return found

    return ids
