"""The config: read whole, checked, and told as faults with their lines; see `read_config`."""

from pipelines.config._models import BatchConfig, BucketConfig, CacheConfig, ErrorConfig, OutputConfig, SplitConfig
from pipelines.config._read import Config, FieldConfig, StepUse, read_config
from pipelines.config._schema import json_schema
from pipelines.config._sections import meaning, sections

__all__ = [
    "BatchConfig",
    "BucketConfig",
    "CacheConfig",
    "Config",
    "ErrorConfig",
    "FieldConfig",
    "OutputConfig",
    "SplitConfig",
    "StepUse",
    "json_schema",
    "meaning",
    "read_config",
    "sections",
]
