"""Run as a program of its own: binds steps in one framework, runs a record through each, prints what was loaded.

python _bind_all.py FRAMEWORK [MODULE ...]     without modules: every step of the catalogue
"""

from __future__ import annotations

import contextlib
import sys

from pipelines.catalog import step_names
from pipelines.contract._harness import Case, numbers, specs_of
from pipelines.step import BatchStep, step_class


def main(framework: str, *modules: str) -> None:
    """Bind and run the first record of every example, then print the loaded top-level modules."""
    for module in modules or tuple(f"pipelines.{name}" for name in step_names()):
        cls = step_class(module)
        if issubclass(cls, BatchStep):
            for example in cls.examples:
                cls.model_validate(dict(example.params)).bind(framework, *specs_of(example))
            continue
        for number in numbers(cls):
            case = Case(cls, number)
            if framework not in case.frameworks:
                continue
            bound = case.bound(framework)
            with contextlib.suppress(Exception):  # what is loaded matters here; test_contract says whether it works
                bound.run(case.records[0])
    print(*sorted({name.partition(".")[0] for name in sys.modules}))


if __name__ == "__main__":
    main(*sys.argv[1:])
