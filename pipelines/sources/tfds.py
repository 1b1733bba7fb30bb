"""Data sets of TensorFlow Datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from typing_extensions import Self

from pipelines.errors import SourceError
from pipelines.sources._base import Source, SourceConfig
from pipelines.sources._library import open_once
from pipelines.step import ConfigPath


class Tfds(SourceConfig):
    """A data set of TensorFlow Datasets, read once into a store that serves both frameworks.

    `builder` names one (`name`, `name/config` or `name/config:version`), prepared in `data_dir` (default: the
    library's own folder) or, with `download: true`, downloaded into it. `image_folder` reads a folder of
    pictures instead, laid out as `split`/class/file, through tfds.ImageFolder. `split` may be a slice such as
    `train[:10%]` of a builder.
    Values: the features by name, those inside others joined by dots. Pictures are the original files; sounds
    are 16-bit WAV files where the builder states their rate; a class label is int64, with its name beside it as
    `label_name`. Builders with a namespace (`community:name`) are refused, since their code would be fetched and run.
    Key: `tfds_id` of a builder (shard and number in it), the path of an `image_folder`.
    """

    library: ClassVar[str] = "tfds"
    extra: ClassVar[str] = "tensorflow"
    needs: ClassVar[tuple[str, ...]] = ("tensorflow",)
    advice: ClassVar[str] = ""

    builder: Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)?(:[\d.*]+)?$")] | None = None
    image_folder: ConfigPath | None = None
    split: str
    data_dir: ConfigPath | None = None
    download: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.builder is None) == (self.image_folder is None):
            raise ValueError("expected either `builder` or `image_folder`, got " + ("both" if self.builder else "none"))
        if self.image_folder is not None and (self.data_dir is not None or self.download):
            raise ValueError("`data_dir` and `download` belong to `builder`, `image_folder` reads the folder as it is")
        return self

    def open(self) -> Source:
        if self.image_folder is not None:
            if not self.image_folder.is_dir():
                raise SourceError(f"tfds: expected a folder laid out as split/class/file at {self.image_folder}")
            request = {"builder": None, "split": self.split}
            # all splits: the classes are those of the whole folder
            return open_once(Tfds, "image_folder", request, self.image_folder, [self.image_folder], {}, download=False)
        assert self.builder is not None
        root = self.data_dir or Path.home() / "tensorflow_datasets"
        name = self.builder.split("/")[0].split(":")[0]
        request = {"builder": self.builder, "split": self.split}
        return open_once(Tfds, self.builder, request, root, [root / name], {}, download=self.download)


SOURCE = Tfds
