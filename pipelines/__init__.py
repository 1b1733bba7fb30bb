"""Audio, text and image pipelines from one YAML config, with the same numbers on PyTorch and TensorFlow.

    import pipelines
    pipe = pipelines.load("configs/audio_digits.yaml", framework="torch")
    for batch in pipe: ...

Importing this package loads no framework.
"""

from pipelines.errors import (
    ConfigError,
    MissingLibrary,
    OutputError,
    ParityError,
    PipelineError,
    RecordError,
    SourceError,
    SpecError,
    StateError,
    TooManyFailures,
    UserError,
)
from pipelines.pipeline import Pipeline, load
from pipelines.run import Summary, run
from pipelines.single import as_keras, as_torch
from pipelines.spec import Axis, Spec

__all__ = [
    "Axis",
    "ConfigError",
    "MissingLibrary",
    "OutputError",
    "ParityError",
    "Pipeline",
    "PipelineError",
    "RecordError",
    "SourceError",
    "Spec",
    "SpecError",
    "StateError",
    "Summary",
    "TooManyFailures",
    "UserError",
    "as_keras",
    "as_torch",
    "load",
    "run",
]
