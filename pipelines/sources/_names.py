"""What the parts of each data set's records are called, by the order its library documents."""

from __future__ import annotations

from collections.abc import Mapping

Names = tuple[str, ...]


def _words(*lines: str) -> tuple[Names, ...]:
    return tuple(tuple(line.split()) for line in lines)


_SPEECH = "waveform sample_rate transcript speaker_id chapter_id utterance_id"
_LABELLED = _words("label text")
_PAIR = _words("label sentence1 sentence2", "sentence1 sentence2")
_TRANSLATED = _words("source target")

TORCHAUDIO: Mapping[str, tuple[Names, ...]] = {
    "CMUARCTIC": _words("waveform sample_rate transcript utterance_id"),
    "CMUDict": _words("word phonemes"),
    "COMMONVOICE": _words("waveform sample_rate record"),
    "DR_VCTK": _words(
        "clean_waveform clean_sample_rate noisy_waveform noisy_sample_rate speaker_id utterance_id source channel_id"
    ),
    "FluentSpeechCommands": _words(
        "waveform sample_rate file_name speaker_id transcript action object location",
    ),
    "GTZAN": _words("waveform sample_rate label"),
    "IEMOCAP": _words("waveform sample_rate file_name label speaker"),
    "LIBRISPEECH": _words(_SPEECH),
    "LIBRITTS": _words(
        "waveform sample_rate original_text normalized_text speaker_id chapter_id utterance_id",
    ),
    "LJSPEECH": _words("waveform sample_rate transcript normalized_transcript"),
    "LibriLightLimited": _words(_SPEECH),
    "LibriMix": _words("sample_rate mixture sources"),
    "LibriSpeechBiasing": _words(f"{_SPEECH} biasing_words"),
    "MUSDB_HQ": _words("waveforms sample_rate frames track"),
    "QUESST14": _words("waveform sample_rate file_name"),
    "SPEECHCOMMANDS": _words("waveform sample_rate label speaker_id utterance_number"),
    "Snips": _words("waveform sample_rate file_name transcript iob intent"),
    "TEDLIUM": _words("waveform sample_rate transcript talk_id speaker_id identifier"),
    "VCTK_092": _words("waveform sample_rate transcript speaker_id utterance_id"),
    "VoxCeleb1Identification": _words("waveform sample_rate speaker_id file_id"),
    "VoxCeleb1Verification": _words("waveform1 waveform2 sample_rate label file_id1 file_id2"),
    "YESNO": _words("waveform sample_rate labels"),
}

TORCHTEXT: Mapping[str, tuple[Names, ...]] = {
    "AG_NEWS": _LABELLED,
    "AmazonReviewFull": _LABELLED,
    "AmazonReviewPolarity": _LABELLED,
    "CC100": _words("language text"),
    "CNNDM": _words("article abstract"),
    "CoLA": _words("source label text"),
    "CoNLL2000Chunking": _words("words tags chunks"),
    "DBpedia": _LABELLED,
    "EnWik9": _words("text"),
    "IMDB": _LABELLED,
    "IWSLT2016": _TRANSLATED,
    "IWSLT2017": _TRANSLATED,
    "MNLI": _PAIR,
    "MRPC": _PAIR,
    "Multi30k": _TRANSLATED,
    "PennTreebank": _words("text"),
    "QNLI": _words("label question sentence", "question sentence"),
    "QQP": _words("label question1 question2"),
    "RTE": _PAIR,
    "SQuAD1": _words("context question answers answer_starts"),
    "SQuAD2": _words("context question answers answer_starts"),
    "SST2": _words("text label", "text"),
    "STSB": _words("number label sentence1 sentence2"),
    "SogouNews": _LABELLED,
    "UDPOS": _words("words tags fine_tags"),
    "WNLI": _PAIR,
    "WikiText103": _words("text"),
    "WikiText2": _words("text"),
    "YahooAnswers": _LABELLED,
    "YelpReviewFull": _LABELLED,
    "YelpReviewPolarity": _LABELLED,
}

_FLOW = _words("image1 image2 flow valid", "image1 image2 flow", "image1 image2")
_STEREO = _words("left right disparity valid", "left right disparity", "left right")
_VIDEO = _words("video audio label")

TORCHVISION: Mapping[str, tuple[Names, ...]] = {
    "CocoCaptions": _words("image captions"),
    "CocoDetection": _words("image objects"),
    "Flickr30k": _words("image captions"),
    "Flickr8k": _words("image captions"),
    "Kitti": _words("image objects"),
    "LFWPairs": _words("image1 image2 label"),
    "PhotoTour": _words("patch1 patch2 match", "patch"),
    "SBDataset": _words("image mask"),
    "SBU": _words("image caption"),
    "VOCDetection": _words("image objects"),
    "VOCSegmentation": _words("image mask"),
    "WIDERFace": _words("image objects"),
    **dict.fromkeys(("FlyingChairs", "FlyingThings3D", "HD1K", "KittiFlow", "Sintel"), _FLOW),
    **dict.fromkeys(
        (
            "CREStereo",
            "CarlaStereo",
            "ETH3DStereo",
            "FallingThingsStereo",
            "InStereo2k",
            "Kitti2012Stereo",
            "Kitti2015Stereo",
            "Middlebury2014Stereo",
            "SceneFlowStereo",
            "SintelStereo",
        ),
        _STEREO,
    ),
    **dict.fromkeys(("HMDB51", "Kinetics", "UCF101"), _VIDEO),
}

KNOWN = {"torchaudio": TORCHAUDIO, "torchtext": TORCHTEXT, "torchvision": TORCHVISION}
