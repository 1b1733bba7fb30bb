"""Mixup and cutmix against their definitions, and in whole runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from pipelines.draw import beta_quantile
from pipelines.image import Cutmix, Mixup
from pipelines.spec import Axis, Spec, picture

CLASSES = Spec("float32", (Axis("class", 4),))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1, 2, 30, 100])
def test_beta_quantiles(alpha: float) -> None:
    levels = np.linspace(0, 1 - 2.0**-32, 401)
    found = [beta_quantile(alpha, level) for level in levels]
    # trapezoids of 4096 parts; the quantile is steep where alpha is small
    np.testing.assert_allclose(found, special.betaincinv(alpha, alpha, levels), atol=2e-6)


def test_mixup_is_what_it_says() -> None:
    import torch

    rng = np.random.default_rng(0)
    pictures, labels = rng.random((3, 2, 4, 5), dtype=np.float32), np.eye(4, dtype=np.float32)[:3]
    kernel = Mixup(fields=("p", "l"), alpha=0.3).bind_torch(picture(4, 5, 2, "float32"), CLASSES)
    made = kernel(*map(torch.tensor, (pictures, labels)), torch.tensor([0.2, 0.7], dtype=torch.float64))
    mixed, mixed_labels = made["p"], made["l"]
    share = special.betaincinv(0.3, 0.3, 0.7)
    np.testing.assert_allclose(mixed, share * pictures + (1 - share) * np.roll(pictures, 1, 0), atol=2e-7)
    np.testing.assert_allclose(mixed_labels.sum(1), 1, atol=2e-7)
    np.testing.assert_allclose(mixed_labels[0], share * labels[0] + (1 - share) * labels[2], atol=2e-7)


def test_mixup_leaves_batches_alone_by_chance() -> None:
    import torch

    rows = torch.rand(3, 2)
    kernel = Mixup(fields=("x",), probability=0.25).bind_torch(Spec("float32", (Axis("a", 2),)))
    assert torch.equal(kernel(rows, torch.tensor([0.25, 0.5], dtype=torch.float64))["x"], rows)
    assert not torch.equal(kernel(rows, torch.tensor([0.2499, 0.5], dtype=torch.float64))["x"], rows)


def test_cutmix_labels_are_the_areas() -> None:
    import torch

    step = Cutmix(fields=("p", "l"))
    kernel = step.bind_torch(picture(20, 30, 1, "float32"), CLASSES)
    pictures, labels = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 20, 30), torch.eye(4)[:3]
    for draw in np.random.default_rng(1).random((50, 4)):
        pasted, mixed = kernel(pictures, labels, torch.from_numpy(draw)).values()
        share = (pasted[1] == 1).float().mean()  # what is left of row 1's own picture
        np.testing.assert_allclose(mixed[1], share * labels[1] + (1 - share) * labels[0], atol=1e-6)
        rows, columns = np.nonzero((pasted[1, 0] == 0).numpy())
        if rows.size:  # one full box
            assert rows.size == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_cutmix_areas_are_beta() -> None:
    """A box that is not cut at the edge has the drawn area: Beta(1, 1) is even, and the centre is in the middle."""
    step, size = Cutmix(fields=("p",)), picture(1000, 1000, 1, "float32")
    levels = np.random.default_rng(2).random(400)
    areas = []
    for level in levels:
        top, bottom, left, right = step.box(size, [0, level, 0.5, 0.5])
        areas.append((bottom - top) * (right - left) / 1e6)
    np.testing.assert_allclose(areas, 1 - levels, atol=0.005)  # sides are whole pixels of 1000
    assert stats.kstest(areas, "uniform").pvalue > 1e-6
