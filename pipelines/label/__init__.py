"""Label steps, one file each; `from pipelines.label import ...` loads only the step asked for."""

from pipelines.step import lazy

__getattr__, __dir__ = lazy(__name__, __path__)
