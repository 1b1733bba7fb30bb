"""What a Keras user holds: steps as layers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from pipelines.catalog import find_step
from pipelines.runtime._gpu import share_gpus
from pipelines.spec import Spec
from pipelines.step import Step

share_gpus()


@keras.saving.register_keras_serializable(package="pipelines")
class StepLayer(keras.layers.Layer):  # type: ignore[misc]  # a class of a library without types
    """A step as a layer. Takes [..., *the axes of `spec`], gives [..., *the axes of its output]."""

    def __init__(self, step: Step, spec: Spec, **kwargs: Any) -> None:
        super().__init__(trainable=False, dtype=spec.dtype, autocast=False, **kwargs)
        self.step, self.spec = step, spec
        self._kernel = step.bind("tensorflow", spec)
        self._random = keras.random.SeedGenerator()

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        count = self.step.variates()
        if not count:
            return self._kernel(x)
        leading = tf.shape(x)[: len(x.shape) - len(self.spec.axes)]
        shape = tf.concat([leading, [count]], 0)
        if training:
            draw = tf.random.stateless_uniform(shape, self._random.next(), dtype=tf.float64)
        else:
            draw = tf.broadcast_to(tf.constant(self.step.serving, tf.float64), shape)
        return self._kernel(x, draw)

    def compute_output_spec(self, x: Any, training: bool = False) -> keras.KerasTensor:
        out = self.step.out_spec(self.spec)
        leading = x.shape[: len(x.shape) - len(self.spec.axes)]
        return keras.KerasTensor((*leading, *out.shape), dtype=out.dtype)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        for name in ("trainable", "dtype"):
            config.pop(name, None)
        return config | {
            "step": {"name": self.step.step_name(), "parameters": self.step.model_dump(mode="json")},
            "spec": self.spec.to_json(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StepLayer:
        step, spec = config.pop("step"), Spec.from_json(config.pop("spec"))
        return cls(find_step(step["name"]).model_validate(step["parameters"]), spec, **config)
