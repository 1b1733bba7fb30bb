"""What every step gave on one stack, checked on another: both bindings, every example of the contract.

    python tests/across.py write FILE.npz      on one stack: the records of all examples, and what came of them
    python tests/across.py compare FILE.npz    on another: the largest difference per step; exit 4 if a step disagrees

The records come from the file too, since encoders of sounds and pictures differ between versions. scripts/across does
both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines.contract._harness import Bound, Case, cases
from pipelines.contract._values import Record
from pipelines.errors import PipelineError
from pipelines.native import need_framework
from pipelines.step import Close, Levels, difference


class Pack:
    """Values as one tree of JSON and many arrays."""

    def __init__(self, arrays: dict[str, np.ndarray[Any, Any]] | None = None) -> None:
        self.arrays = {} if arrays is None else arrays

    def put(self, value: Any) -> Any:
        """A value as JSON; arrays and bytes are kept aside."""
        if isinstance(value, str):  # NumPy's too
            return {"plain": str(value)}
        if isinstance(value, (list, tuple)):
            return {"list" if isinstance(value, list) else "tuple": [self.put(item) for item in value]}
        if isinstance(value, bytes):
            return {"bytes": self.put(np.frombuffer(value, np.uint8))}
        if isinstance(value, (np.ndarray, np.generic)):
            name = f"a{len(self.arrays)}"
            self.arrays[name] = np.asarray(value)
            return {"array": name}
        return {"plain": value}

    def get(self, held: Any) -> Any:
        """The value that `put` was given."""
        ((kind, value),) = held.items()
        if kind in ("list", "tuple"):
            return (list if kind == "list" else tuple)(self.get(item) for item in value)
        if kind == "bytes":
            return self.get(value).tobytes()
        return self.arrays[value] if kind == "array" else value


def bound(case: Case) -> Iterator[tuple[str, Bound]]:
    """The step in each framework that it runs in."""
    for framework in case.step.frameworks:
        yield framework, case.bound(framework)


def write(path: str) -> None:
    """Run every example and keep records and results."""
    pack, index = Pack(), {}
    for case in cases():
        records = [pack.put([record.value, record.rate_hz, record.draw]) for record in case.records]
        made = {name: [pack.put(b.run(record).value) for record in case.records] for name, b in bound(case)}
        index[str(case)] = {"records": records, "made": made}
    np.savez_compressed(path, index=np.frombuffer(json.dumps(index).encode(), np.uint8), **pack.arrays)
    print(f"{len(index)} examples, {len(pack.arrays)} arrays in {path}")


def measure(agreement: Any, a: Any, b: Any) -> float:
    """How far two results are apart: in levels, of the peak, or 0 and 1 for what is the same or not."""
    if not isinstance(a, np.ndarray):
        return float(a != b)
    if a.dtype != b.dtype:
        return float("inf")
    apart = difference(a, b)
    if isinstance(agreement, Levels) and a.dtype.kind != "f":
        return apart
    peak = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)) if isinstance(agreement, Close) else 1.0
    return apart / peak if peak > 0 else apart


def compare(path: str) -> int:
    """Run the kept records here, and tell how far the results are from those kept."""
    with np.load(path) as held:
        pack = Pack({name: held[name] for name in held.files})
    index = json.loads(pack.arrays["index"].tobytes())
    largest: dict[tuple[str, str], float] = {}
    stated: dict[str, Any] = {}
    faults, compared, passed_over = [], 0, [name for name in index if name not in {str(case) for case in cases()}]
    for case in cases():
        if str(case) not in index:
            passed_over.append(str(case))
            continue
        kept = index[str(case)]
        stated[case.cls.step_name()] = case.agreement
        for framework, here in bound(case):
            for number, (given, made) in enumerate(zip(kept["records"], kept["made"][framework], strict=True)):
                found, wanted = here.run(Record(*pack.get(given))).value, pack.get(made)
                at = (case.cls.step_name(), framework)
                largest[at] = max(largest.get(at, 0.0), measure(case.agreement, found, wanted))
                compared += 1
                if isinstance(found, np.ndarray):
                    wrong = case.agreement.excess(found, wanted)
                else:
                    wrong = None if found == wanted else "not the same"
                if wrong:
                    faults.append(f"{case}, record {number}, {framework}: {wrong}")
    table = Table("step", "torch", "tensorflow", "stated agreement", title="Largest difference from the other stack")
    for name in dict.fromkeys(step for step, _ in largest):
        values = [largest.get((name, framework)) for framework in ("torch", "tensorflow")]
        table.add_row(name, *("-" if v is None else f"{v:.3g}" for v in values), str(stated[name]))
    Console(width=140).print(table)
    for name in passed_over:
        print(f"passed over, since one of the stacks has no such example: {name}")
    print("\n".join(faults) if faults else f"all {compared} results agree")
    return 4 if faults else 0


def main(action: str, path: str) -> int:
    """One of the two actions."""
    import tensorflow  # noqa: F401  # first, so that the other can be loaded beside it

    need_framework("torch")
    return compare(path) if action == "compare" else write(path) or 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except PipelineError as error:
        sys.exit(str(error))
