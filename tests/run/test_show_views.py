"""The views of `pipelines show`: axes in seconds and hertz, tokens that read as the text, the picture's own pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torchvision.utils import make_grid

from pipelines.audio.fbank import Fbank
from pipelines.audio.mel import Mel
from pipelines.audio.stft import Stft
from pipelines.image.normalize import Normalize
from pipelines.plan import FieldPlan, Node
from pipelines.report._page import Block, Picture, Words, figure_png
from pipelines.report._show_audio import Spectral, sound_of, spectrogram_figure, waveform_figure
from pipelines.report._show_picture import class_colours, grid_pixels, pixels_of, with_boxes
from pipelines.report._show_take import Stage, Taken
from pipelines.report._show_text import frequency_figure, ids_of
from pipelines.report._show_view import Viewer
from pipelines.spec import BOXES, Spec, picture, waveform
from pipelines.step import Step
from pipelines.text.bpe import Bpe
from pipelines.text.clip_bpe import ClipBpe
from pipelines.text.code_points import CodePoints
from pipelines.text.sentencepiece import Sentencepiece
from pipelines.text.utf8 import Utf8
from pipelines.text.wordpiece import Wordpiece

RATE = 16000
SPECTRAL = {
    "stft": Stft(n_fft=512, hop=128, output="power"),
    "stft off-centre": Stft(n_fft=512, hop=128, centre=False, output="power"),
    "mel": Mel(n_fft=512, hop=128, bands=40),
    "fbank": Fbank(bands=40, log=False),
    "fbank reflected": Fbank(bands=40, log=False, edges="reflect"),
}


def node_of(step: Step, takes: Spec) -> Node:
    return Node(step, "step", (takes,), (step.out_spec(takes),), None)


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_click_and_a_tone_stand_at_their_second_and_hertz(name: str) -> None:
    step, spec = SPECTRAL[name], waveform(RATE)
    node = node_of(step, spec)
    seconds, hz = 0.4, 1500.0
    row = node.gives[0].names[-2]

    click = torch.zeros(RATE)
    click[int(seconds * RATE)] = 1.0
    figure = spectrogram_figure(step.bind_torch(spec)(click).numpy(), row, "", node)
    axes = figure.axes[0]
    drawn = axes.images[0]
    left, right, bottom, top = drawn.get_extent()
    energy = np.asarray(drawn.get_array()).sum(0)
    middle = left + (int(energy.argmax()) + 0.5) * (right - left) / len(energy)
    hop = (right - left) / len(energy)
    assert abs(middle - seconds) <= hop  # within a frame
    assert axes.get_xlim() == (left, right)
    assert axes.get_xlabel() == "seconds"
    assert abs(right - 1.0) < 512 / RATE + hop

    tone = torch.sin(2 * np.pi * hz * torch.arange(RATE) / RATE)
    figure = spectrogram_figure(step.bind_torch(spec)(tone).numpy(), row, "", node)
    axes = figure.axes[0]
    energy = np.asarray(axes.images[0].get_array()).sum(1)
    if row == "bin":
        left, right, bottom, top = axes.images[0].get_extent()
        at = bottom + (int(energy.argmax()) + 0.5) * (top - bottom) / len(energy)
        assert abs(at - hz) <= RATE / 512 / 2
        assert (bottom, top) == pytest.approx((-RATE / 1024, RATE / 2 + RATE / 1024))
        assert axes.get_ylabel() == "Hz"
    else:
        assert isinstance(step, Spectral)
        rows_hz = step.rows_hz(RATE)
        assert int(energy.argmax()) == int(np.abs(rows_hz - hz).argmin())
        ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        labels = {int(at): float(text.get_text()) for at, text in ticks}
        assert labels == {at: pytest.approx(rows_hz[at], abs=0.5) for at in labels}
        assert {0, 39} <= labels.keys()
        assert "Hz" in axes.get_ylabel()


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_the_middles_of_mel_bands_are_librosas(scale: str) -> None:
    step = Mel.model_validate({"bands": 40, "low_hz": 50, "high_hz": 7000, "scale": scale})
    expected = librosa.mel_frequencies(42, fmin=50, fmax=7000, htk=scale == "htk")[1:-1]
    np.testing.assert_allclose(step.rows_hz(RATE), expected, rtol=1e-9)  # float64, the same formula


def test_without_a_rate_frames_are_counted() -> None:
    step = Stft(output="power")
    figure = spectrogram_figure(np.ones((201, 11)), "bin", "power", node_of(step, waveform(None)))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frame", "bin")
    assert axes.get_xlim() == (-0.5, 10.5)


def test_a_waveform_is_drawn_over_its_seconds_with_its_peaks() -> None:
    samples = np.zeros((2, 100_000), np.float32)
    samples[0, 77_777] = 0.9  # one sample among so many must not vanish
    figure = waveform_figure(samples, 50_000)
    first, second = figure.axes
    assert first.get_xlim() == (0.0, 2.0)
    assert second.get_xlabel() == "seconds"
    x, y = first.lines[0].get_data()
    assert np.max(y) == pytest.approx(0.9)
    assert x[np.argmax(y)] == pytest.approx(77_777 / 50_000, abs=0.002)
    assert waveform_figure(samples[0], None).axes[0].get_xlabel() == "samples"
    assert waveform_figure(samples[0], None, peak=2.0).axes[0].get_ylim() == pytest.approx((-2.1, 2.1))


def test_a_long_sound_is_cut_and_says_so() -> None:
    whole, cut = (sound_of(np.zeros(8000), 8000, most) for most in (1 << 20, 8000))
    assert whole is not None
    assert cut is not None
    assert "first" not in whole.caption
    assert "the first 0.5 s" in cut.caption
    assert len(cut.wav) == 44 + 8000
    assert sound_of(np.zeros(0), 8000, 1000) is None
    assert sound_of(np.full(9, np.nan), 8000, 1000) is None


FOLDER = Path(__file__).parents[2] / "pipelines" / "text" / "_example"
PLAIN = str.maketrans({"␣": " "})


@pytest.mark.parametrize(
    ("step", "text", "joined"),
    [
        (Bpe(encoder=FOLDER / "encoder.json", merges=FOLDER / "vocab.bpe"), "the toile, a red 1", "the toile, a red 1"),
        (
            ClipBpe(encoder=FOLDER / "clip_encoder.json", merges=FOLDER / "clip_vocab.bpe"),
            "a Red toile",
            "a red toile ",  # each word's last token ends it
        ),
        (Sentencepiece(model=FOLDER / "sentencepiece.model"), "a red circle", " a red circle"),
        (Wordpiece(vocabulary=FOLDER / "wordpiece.txt"), "red", "red"),
        (Utf8(first=3), "a b~", "a b~"),
        (CodePoints(), "a é\U0001f680", "a é\U0001f680"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Step) else "",
)
def test_ids_read_as_the_text_they_came_from(step: Step, text: str, joined: str) -> None:
    ids = step.bind_torch(Spec("text"))(text).numpy()
    name: Callable[[int], str] | None = step.naming()
    assert name is not None
    (pieces,) = ids_of(ids, name)
    assert not isinstance(pieces, str)
    assert "".join(token.removeprefix("##") for token, _ in pieces.tokens).translate(PLAIN) == joined
    assert [int(under) for _, under in pieces.tokens] == ids.tolist()


def test_a_normalized_picture_is_mapped_back_to_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 11, 3), np.uint8)
    step, spec = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), picture()
    value = step.bind_torch(spec)(torch.from_numpy(pixels).movedim(-1, 0)).movedim(0, -1).numpy()
    shown, told = pixels_of(value, step.out_spec(spec), [node_of(step, spec)])
    np.testing.assert_array_equal(shown, pixels)
    assert f"values {value.min():.3g} to {value.max():.3g}, mapped back" in told


@pytest.mark.parametrize("count", [1, 3, 8, 9, 17])
def test_a_grid_is_the_same_with_and_without_torchvision(count: int) -> None:
    rng = np.random.default_rng(count)
    pictures = [rng.integers(0, 256, (7, 5, 3), np.uint8) for _ in range(count)]
    expected = make_grid(torch.from_numpy(np.stack(pictures)).movedim(-1, 1), nrow=8, pad_value=255).movedim(0, -1)
    for framework in ("torch", "tensorflow"):
        np.testing.assert_array_equal(grid_pixels(pictures, framework), expected.numpy())


def test_boxes_are_drawn_in_their_picture_and_stand_as_numbers() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    drawn = with_boxes(pixels, np.array([[5, 4, 15, 12]], np.float32))
    rows, columns = np.nonzero(drawn.any(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 11, 5, 14)
    assert not drawn[7:9, 8:12].any()  # an outline only
    field = FieldPlan("box", ("box",), (BOXES,), False, (), 0)
    stage = Stage(field, 0, 0, np.array([[5, 4, 15, 12]], np.float32), None)
    words, table = Viewer(1000, {}).view(stage, Taken({}))
    assert "without a picture" in words.text
    assert table.rows == [[0, 5.0, 4.0, 15.0, 12.0]]


def test_class_numbers_have_colours_of_their_own() -> None:
    colours = class_colours(np.arange(40).reshape(4, 10))
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 40


def value_of(spec: Spec, value: Any) -> tuple[Stage, Taken]:
    stage = Stage(FieldPlan("x", ("x",), (spec,), False, (), 0), 0, 0, value, None)
    return stage, Taken({stage.place: stage})


def said(block: Block) -> str:
    assert isinstance(block, Words)
    return block.text


def test_differences_are_measured() -> None:
    spec = waveform(8000)
    a = np.linspace(-1, 1, 100, dtype=np.float32)
    b = a.copy()
    b[30] += 0.25
    viewer = Viewer(1000, {})
    blocks = viewer.both([("torch", *value_of(spec, a)), ("tensorflow", *value_of(spec, b))])
    assert any(
        getattr(block, "text", "") == "difference: at most 0.25 amplitude, in 1 of 100 values" for block in blocks
    )
    assert isinstance(blocks[-1], Picture)
    assert blocks[-1].alt == "difference"
    same = viewer.both([("torch", *value_of(spec, a)), ("tensorflow", *value_of(spec, a))])
    assert said(same[-1]) == "difference: none, equal to the last bit"
    other = viewer.both([("torch", *value_of(spec, a)), ("tensorflow", *value_of(spec, a[1:]))])
    assert said(other[-1]) == "difference: shapes (100,) and (99,)"


def test_what_has_no_picture_says_so() -> None:
    for spec, value in ((Spec("float32"), np.float32(0.5)), (Spec("float32"), np.zeros(5, np.float32))):
        blocks = Viewer(1000, {}).view(*value_of(spec, value))
        assert "no picture" in said(blocks[0])


def test_tokens_that_the_font_lacks_are_no_reason_to_warn() -> None:
    figure = frequency_figure(Counter({"漢字": 3, "$x$": 2, "a" * 99: 1}))
    assert figure_png(figure).startswith(b"\x89PNG")
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels[:2] == ["漢字", "$x$"]
    assert len(labels[2]) == 24


@pytest.mark.parametrize("most", [1.0, 3e-4, 3e-8, 2e4])
@pytest.mark.parametrize("width", [4.2, 7.0])
def test_numbers_of_any_size_have_room_in_a_figure(most: float, width: float) -> None:
    """Every word and number lies inside, also the power of ten that stands above an axis."""
    wave = most * np.sin(np.arange(800) / 5, dtype=np.float32)
    levels = most * np.random.default_rng(0).uniform(-1, 1, (20, 30)).astype(np.float32)
    figures = [
        waveform_figure(np.stack([wave, wave / 3]), 8000, width=width),
        spectrogram_figure(levels, "band", "power", None, width=width, around_zero=True),
    ]
    for figure in figures:
        figure.canvas.draw()
        for axes in figure.axes:
            taken = axes.get_tightbbox()
            assert taken is not None
            assert taken.x0 >= 0, taken
            assert taken.y0 >= 0, taken
            assert taken.x1 <= figure.bbox.width, (taken, figure.bbox.width)
            assert taken.y1 <= figure.bbox.height, (taken, figure.bbox.height)
