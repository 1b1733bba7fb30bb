"""What mixup and cutmix share: how much of each row stays, and whom it is mixed with."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipelines.draw import beta_quantile
from pipelines.errors import SpecError
from pipelines.spec import Spec
from pipelines.step import BatchStep

Probability = Annotated[float, Field(ge=0, le=1)]


class MixStep(BatchStep):
    """A batch step that mixes each row with the one before it; the first with the last."""

    alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    probability: Probability = 1.0

    def need_mixable(self, specs: tuple[Spec, ...]) -> None:
        """SpecError unless every field holds float32, whose values can be mixed."""
        for name, spec in zip(self.fields, specs, strict=True):
            if spec.dtype != "float32":
                hint = "label.one_hot" if spec.dtype.startswith("int") else "image.normalize"
                raise SpecError(f"{name}: expected float32, which can be mixed, got {spec}; {hint} gives it")

    def kept(self, draw: Any) -> float:
        """The share of each row that stays, Beta(alpha, alpha); 1 where chance leaves the batch alone."""
        chance, level = np.asarray(draw, np.float64)[:2]
        return float(beta_quantile(self.alpha, float(level))) if chance < self.probability else 1.0
