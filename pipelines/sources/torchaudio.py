"""Data sets of torchaudio."""

from __future__ import annotations

from typing import ClassVar

from pipelines.sources._library import LibraryDataset


class Torchaudio(LibraryDataset):
    """A data set class of torchaudio.datasets, read once into a store that serves both frameworks.

    `dataset` is the name of the class; `root`, `split`, `download` and `arguments` are given to it by name.
    Values: the documented parts of the class: LJSPEECH gives `waveform`, `sample_rate`, `transcript` and
    `normalized_transcript`; `names` names the parts otherwise. Waveforms are float32 WAV files without
    loss, for audio.decode. Key: the number of the record.
    """

    library: ClassVar[str] = "torchaudio"


SOURCE = Torchaudio
