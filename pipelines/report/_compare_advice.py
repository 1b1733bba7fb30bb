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
    """The faster framework if their rounds do not overlap, else the one that starts sooner or takes less memory.

    The reason holds what else was measured. No framework is named without parity, nor where each has something for it.
    """
    a, b = sorted((sides[name] for name in FRAMEWORKS), key=lambda side: -side.rate)
    sooner, leaner = _sooner(a, b), _leaner(a, b)
    if min(a.rates) > max(b.rates):
        name: str | None = a.framework
        reason = f"{_faster(a, b)} ({a.spread} against {b.spread})"
    else:
        speaks = {side.framework for side in (sooner, leaner) if side}
        name = speaks.pop() if len(speaks) == 1 else None
        reason = (
            f"the measurement tells no difference in speed ({a.framework} {a.spread} records/s, "
            f"{b.framework} {b.spread})"
        )
    if sooner:
        gap = abs(a.start_seconds - b.start_seconds)
        reason += f"; {sooner.framework} has its first batch {gap:.1f} s sooner"
    if leaner:
        gap = abs(a.peak_memory_mib - b.peak_memory_mib)
        reason += f"; {leaner.framework} takes {gap:,.0f} MiB less memory"
    reason += "".join(f"; {words}" for words in (_fallback(side, leans) for side in (a, b)) if words)
    if faults:
        count = f"{faults} fault{'s' * (faults != 1)}"
        return Advice(None, f"none while parity fails ({count}): settle that first. As to speed, {reason}")
    return Advice(name, reason)


def _faster(a: Side, b: Side) -> str:
    ratio = a.rate / b.rate
    if ratio < 1.1:
        return f"{a.framework} delivers {ratio - 1:.1%} more records a second than {b.framework}"
    times = f"{ratio:.2g}" if ratio < 100 else f"{ratio:,.0f}"
    return f"{a.framework} delivers {times} times the records a second of {b.framework}"


def _sooner(a: Side, b: Side) -> Side | None:
    gap = b.start_seconds - a.start_seconds
    return None if abs(gap) < SECONDS_THAT_MATTER else a if gap > 0 else b


def _leaner(a: Side, b: Side) -> Side | None:
    gap = b.peak_memory_mib - a.peak_memory_mib
    if abs(gap) < MEMORY_THAT_MATTERS * max(a.peak_memory_mib, b.peak_memory_mib):
        return None
    return a if gap > 0 else b


def _fallback(side: Side, leans: Sequence[Mapping[str, Any]]) -> str:
    """The libraries that one framework alone has to do without; what runs on the host is in its speed."""
    here = [one["step"] for one in leans if one["kind"] == "library" and one["frameworks"] == [side.framework]]
    steps = ", ".join(dict.fromkeys(here))
    return f"on {side.framework}, {steps} cannot use the framework's own library here" if steps else ""
