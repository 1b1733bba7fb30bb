"""Data sets of torchvision."""

from __future__ import annotations

from typing import ClassVar

from pipelines.sources._library import LibraryDataset


class Torchvision(LibraryDataset):
    """A data set class of torchvision.datasets, read once into a store that serves both frameworks.

    `dataset` is the name of the class; `root`, `split`, `train`, `download` and `arguments` are given to it
    by name. Files that `arguments` name are relative to `root`.
    Values: `image` and `label` (int64) where the class gives a picture and a number, and `label_name` (text)
    where it has class names; other classes by their documented parts, or by `names`. Pictures are PNG
    files without loss, or the original files where the class lists them (ImageFolder, ImageNet, EuroSAT and
    the like). Key: the path relative to `root` where the class lists files, else the number of the record.
    Classes that unpickle files are refused, but for CIFAR10 and CIFAR100, where the library checks the
    files' published MD5 first.
    """

    library: ClassVar[str] = "torchvision"


SOURCE = Torchvision
