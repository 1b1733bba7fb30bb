"""Single steps as native objects of a framework: an nn.Module, a Keras layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.errors import SpecError
from pipelines.native import need_framework
from pipelines.spec import Axis, Spec

if TYPE_CHECKING:
    from pipelines.runtime.keras_objects import StepLayer
    from pipelines.runtime.torch_objects import StepModule
    from pipelines.step import Step


def as_torch(step: Step, *, rate_hz: int | None = None, spec: Spec | None = None) -> StepModule:
    """A step as a torch.nn.Module on tensors with any leading batch axes; pictures are channel first.

    `spec` describes the input; left out, it is what the step's first example takes, of any size,
    at `rate_hz`. A random step draws from torch's generator in training mode and does the least
    it can in evaluation mode. Raises SpecError when the step cannot take such an input.
    """
    need_framework("torch")
    from pipelines.runtime.torch_objects import StepModule

    return StepModule(step, _spec_for(step, rate_hz, spec))


def as_keras(step: Step, *, rate_hz: int | None = None, spec: Spec | None = None) -> StepLayer:
    """A step as a keras.layers.Layer on tensors with any leading batch axes; see `as_torch`."""
    need_framework("tensorflow")
    from pipelines.runtime.keras_objects import StepLayer

    return StepLayer(step, _spec_for(step, rate_hz, spec))


def _spec_for(step: Step, rate_hz: int | None, spec: Spec | None) -> Spec:
    if spec is None:
        takes = step.examples[0].takes
        if isinstance(takes, tuple):
            raise SpecError(f"{step.step_name()} joins values; only steps on one value can be a module or a layer")
        spec = takes
        spec = spec.but(axes=tuple(axis if axis.name == "channel" else Axis(axis.name) for axis in spec.axes))
        spec = spec.but(rate_hz=rate_hz)
    elif rate_hz is not None:
        spec = spec.but(rate_hz=rate_hz)
    if not spec.is_numeric:
        raise SpecError(f"{step.step_name()} takes {spec}; only steps on numbers can be a module or a layer")
    step.out_spec(spec)
    return spec
