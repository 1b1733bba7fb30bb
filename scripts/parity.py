"""Measures how closely the frameworks agree, with each other and with independent oracles: docs/parity.md.

.venv/bin/python scripts/parity.py [FILE]
"""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

HEAD = """# Parity

How far each binding is from an independent oracle, how far the two are from each other, and what the step allows
between them: the largest difference over all records of the step's examples, "of peak" relative to the largest
magnitude of the record. Made by `.venv/bin/python scripts/parity.py` with {versions}, on {machine}.
The tests hold every number to a stated bound (tests/contract, tests/oracle), and go on to real data.

| step | oracle | torch | TensorFlow | between the two | allowed |
| --- | --- | --- | --- | --- | --- |
"""
LIBRARIES = (
    "torch",
    "torchaudio",
    "torchvision",
    "torchtext",
    "tensorflow",
    "tensorflow-io",
    "tensorflow-text",
    "librosa",
    "scipy",
)


def main(file: Path) -> None:
    """Measure and write the table."""
    from oracle.base import NoOracle
    from oracle.measure import measure

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    lines, notes = [HEAD.format(versions=versions, machine=platform.machine())], []
    for row in measure():
        gaps = [str(row.gaps[name]) for name in ("torch", "tensorflow", "between")]
        oracle = "none" if isinstance(row.oracle, NoOracle) else row.oracle.name
        lines.append(f"| `{row.step}` | {oracle} | {' | '.join(gaps)} | {row.agreement} |\n")
        why = row.oracle.why if isinstance(row.oracle, NoOracle) else row.oracle.within.why
        notes.append(f"- `{row.step}`: {row.agreement.why}. Oracle: {why}.\n")
        print(lines[-1], end="", flush=True)
    file.write_text("".join([*lines, "\n## Why\n\n", *notes]), "utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "parity.md")
