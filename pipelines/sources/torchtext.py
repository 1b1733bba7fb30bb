"""Data sets of torchtext."""

from __future__ import annotations

from typing import ClassVar

from pipelines.sources._library import LibraryDataset
from pipelines.step import ConfigPath

ADVICE = (
    "torchtext ended with torch 2.3 and does not load beside a later one: read the same files with the source "
    "`manifest`, or keep the full stack in an environment of its own"
)


class Torchtext(LibraryDataset):
    """A data set of torchtext.datasets, read once into a store that serves both frameworks.

    `dataset` is its name; `split` and `arguments` are given to it by name. `root` is torchtext's own cache
    (the files are in `root`/datasets/NAME) or the folder that holds the files themselves: AG_NEWS with
    `split: test` reads `root`/test.csv. torchtext checks the published MD5 of each file. Nothing is
    written to `root` unless `download` is true.
    Values: AG_NEWS and other classified texts give `label` (int64, as the file counts) and `text`; sentence
    pairs `sentence1` and `sentence2`; other sets their documented parts, or `names`.
    Key: the number of the record.
    Needs the full stack, since torchtext ended with torch 2.3; `manifest` reads the same files on any.
    """

    library: ClassVar[str] = "torchtext"
    extra: ClassVar[str] = "full"
    needs: ClassVar[tuple[str, ...]] = ("torchdata", "portalocker")
    advice: ClassVar[str] = ADVICE

    root: ConfigPath


SOURCE = Torchtext
