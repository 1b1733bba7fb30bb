"""The answer of `compare`: what one framework cost, and which of the two fits better and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pipelines.spec import FRAMEWORKS

SECONDS_THAT_MATTER = 1.0
MEMORY_THAT_MATTERS = 0.1


@dataclass(frozen=True)
class Side:
    """What was measured of one framework. `rates` are records per second, one for each timed round.

    `import_seconds` is for the framework alone, `bind_seconds` for opening the records and binding the steps, with
    the companion libraries they load, `first_batch_seconds` from there on.
    """

    framework: str
    versions: Mapping[str, str]
    device: str
    import_seconds: float
    bind_seconds: float
    first_batch_seconds: float
    rates: tuple[float, ...]
    peak_memory_mib: float
    failed: int = 0

    @property
    def rate(self) -> float:
        """The median of the rounds."""
        return median(self.rates)

    @property
    def start_seconds(self) -> float:
        """From nothing to the first batch."""
        return self.import_seconds + self.bind_seconds + self.first_batch_seconds

    @property
    def spread(self) -> str:
        """The slowest and the fastest round, in words."""
        return f"{min(self.rates):,.0f} to {max(self.rates):,.0f}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "versions": dict(self.versions),
            "device": self.device,
            "import_seconds": round(self.import_seconds, 3),
            "bind_seconds": round(self.bind_seconds, 3),
            "first_batch_seconds": round(self.first_batch_seconds, 3),
            "records_per_second": round(self.rate, 1),
            "rounds": [round(rate, 1) for rate in self.rates],
            "peak_memory_mib": round(self.peak_memory_mib),
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Advice:
    """The framework that fits better, or None where the measurement does not tell, and the reason."""

    framework: str | None
    reason: str


def advise(sides: Mapping[str, Side], leans: Sequence[Mapping[str, Any]], faults: int) -> Advice:
    """The faster framework if their rounds do not overlap, with what speaks against it; nothing without parity."""
    a, b = sorted((sides[name] for name in FRAMEWORKS), key=lambda side: -side.rate)
    if min(a.rates) > max(b.rates):
        name: str | None = a.framework
        reason = (
            f"{a.framework} delivers {a.rate / b.rate:.2g} times the records a second of {b.framework} "
            f"({a.spread} against {b.spread})"
        )
    else:
        name = None
        reason = (
            f"the measurement tells no difference in speed ({a.framework} {a.spread} records/s, "
            f"{b.framework} {b.spread})"
        )
    beside = [words for words in (_start(a, b), _memory(a, b), *(_fallback(side, leans) for side in (a, b))) if words]
    reason += "".join(f"; {words}" for words in beside)
    if faults:
        count = f"{faults} fault{'s' * (faults != 1)}"
        return Advice(None, f"none while parity fails ({count}): settle that first. As to speed, {reason}")
    return Advice(name, reason)


def _start(a: Side, b: Side) -> str:
    gap = b.start_seconds - a.start_seconds
    if abs(gap) < SECONDS_THAT_MATTER:
        return ""
    sooner = a if gap > 0 else b
    return f"{sooner.framework} has its first batch {abs(gap):.1f} s sooner"


def _memory(a: Side, b: Side) -> str:
    gap = b.peak_memory_mib - a.peak_memory_mib
    if abs(gap) < MEMORY_THAT_MATTERS * max(a.peak_memory_mib, b.peak_memory_mib):
        return ""
    less = a if gap > 0 else b
    return f"{less.framework} takes {abs(gap):,.0f} MiB less memory"


def _fallback(side: Side, leans: Sequence[Mapping[str, Any]]) -> str:
    """What one framework alone leans on; host steps are the same on both."""
    steps = dict.fromkeys(one["step"] for one in leans if one["frameworks"] == [side.framework])
    return f"on {side.framework}, {', '.join(steps)} cannot use the framework's own library here" if steps else ""
