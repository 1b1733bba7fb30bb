"""What a profile measured, what it says of the bottleneck, and what to change: figures in, words and factors out."""

from __future__ import annotations

from dataclasses import dataclass

WORTH = 1.03
"""Gains below this are not told: runs differ by as much."""
LARGE = 0.2
"""The share of the workers' time from which on it is worth the while to look at why a step waits."""
ON_PROCESSOR = 0.7
"""A place whose threads have the processor less than this share of their time waits for something else."""


@dataclass(frozen=True)
class Spent:
    """Worker seconds at one place: a step of a field ("" on the batch), or a stage such as reading.

    `own` are the seconds that the same records take while no other worker disturbs, `computed` the share of those in
    which the thread had a processor, None where that was not measured. A step that fills the cache runs `once` for each
    record, and not in later epochs.
    """

    name: str
    field: str
    is_step: bool
    seconds: float
    own: float
    computed: float | None = None
    once: bool = False

    @property
    def title(self) -> str:
        return f"{self.field}: {self.name}" if self.field else self.name


@dataclass(frozen=True)
class Keepable:
    """Steps of a field that `cache:` would keep, and what it costs to take a record's value back: seconds, bytes."""

    field: str
    steps: int
    read_back_s: float
    bytes_each: float


@dataclass(frozen=True)
class Figures:
    """A stretch of a run, in seconds, records and bytes.

    `spent` are the workers' seconds at work, `turn_s` and `idle_s` those in which they waited for each other and for
    the consumer; on TensorFlow, where Python does not see them, both are None and `spent` comes from the steps alone.
    `ready` is the mean number of finished batches that waited for the consumer, of at most `room`.
    """

    framework: str
    threads: int
    at_once: int
    cores: int
    wall_s: float
    processor_s: float
    records: int
    of_records: int
    batches: int
    bytes_read: int
    bytes_delivered: int
    spent: tuple[Spent, ...]
    turn_s: float | None
    idle_s: float | None
    waited_s: float
    away_s: float
    ready: float | None
    room: int | None
    keepable: tuple[Keepable, ...] = ()
    most_gb: float = 20.0

    @property
    def working_s(self) -> float:
        return sum(one.seconds for one in self.spent)

    @property
    def own_s(self) -> float:
        return sum(one.own for one in self.spent)

    @property
    def held_up(self) -> float:
        """The share of the workers' time at work in which they held each other up, or had no core."""
        return max(0.0, 1 - self.own_s / max(self.working_s, 1e-9))

    @property
    def records_per_second(self) -> float:
        return self.records / self.wall_s

    @property
    def busy_cores(self) -> float:
        """How many cores the process had, on average."""
        return self.processor_s / self.wall_s

    @property
    def waiting(self) -> float:
        """The share of its time that the consumer waited for a batch."""
        return self.waited_s / max(self.waited_s + self.away_s, 1e-9)

    @property
    def idle(self) -> float | None:
        """The share of their time that the workers had nothing to do, since enough batches were ready."""
        if self.idle_s is None or self.turn_s is None:
            return None
        return self.idle_s / max(self.working_s + self.turn_s + self.idle_s, 1e-9)


@dataclass(frozen=True)
class Advice:
    """Something to change, by which factor records/s would rise at most, and why."""

    change: str
    gain: float
    why: str


@dataclass(frozen=True)
class Verdict:
    """The bottleneck, its share of the time, why it is one, and what to change, the largest gain first."""

    bottleneck: str
    share: float
    why: str
    advice: tuple[Advice, ...]


def judge(figures: Figures) -> Verdict:
    """The bottleneck and what to do.

    It is the consumer where the workers stand idle more than the consumer waits (on TensorFlow: where it hardly waits),
    else the place of the workers that takes the most time.
    """
    idle = figures.idle
    slow_consumer = figures.waiting < 0.1 if idle is None else idle > figures.waiting
    if slow_consumer:
        return _of_consumer(figures)
    if not figures.spent:
        return Verdict("nothing", 0.0, "no work was seen in this time; measure longer", ())
    first = max(figures.spent, key=lambda one: one.own)
    share = first.own / figures.own_s
    rules = (_storage, _cache, _filling, _threads, _processes, _waiting)
    found = [one for rule in rules for one in rule(figures)]
    advice = sorted((one for one in found if one.gain >= WORTH), key=lambda one: -one.gain)
    why = f"it takes {share:.0%} of the workers' time; without it, the rest would run {1 / max(1 - share, 1e-3):.2f}x"
    why += " as fast"
    if not advice:
        why += ". Nothing measured here makes it cheaper: the cores are in use, and no part of it can be kept"
    return Verdict(first.title, share, why, tuple(advice))


def _of_consumer(figures: Figures) -> Verdict:
    busy = 1 - figures.waiting
    each = 1000 * figures.away_s / max(figures.batches, 1)
    why = f"it is at work {busy:.0%} of the time, {each:.1f} ms a batch"
    if figures.idle is None:
        return Verdict("the consumer", busy, f"{why}, and hardly ever waits for a batch", ())
    why += f", and the workers stand idle {figures.idle:.0%}"
    gain = 1 / max(1 - figures.idle, 1e-3)
    change = "make the consumer (the training step, the writing) faster, or give its cores to it: fewer --threads do"
    limit = f"the workers could make {gain:.2f}x as many records; no change of the steps makes this run faster"
    return Verdict("the consumer", busy, why, (Advice(change, gain, limit),))


def _gain(figures: Figures, saved: float) -> float:
    """How much faster the workers get through the same records when they are spared so many seconds."""
    return figures.own_s / max(figures.own_s - saved, 1e-3 * figures.own_s)


def _storage(figures: Figures) -> list[Advice]:
    """Reading that waits: for the disk or the network."""
    told = []
    for one in figures.spent:
        if one.name == "read" and not one.is_step and one.computed is not None and one.computed < ON_PROCESSOR:
            waits = one.own * (1 - one.computed)
            why = f"reading has a processor {one.computed:.0%} of its time; else it waits, for storage or a core"
            change = "put the records on a faster disk, or write them into large shards once (output:)"
            told.append(Advice(change, _gain(figures, waits), why))
    return told


def _cache(figures: Figures) -> list[Advice]:
    """Steps without chance that later epochs need not compute again."""
    told = []
    for kept in figures.keepable:
        steps = [one for one in figures.spent if one.is_step and one.field == kept.field][: kept.steps]
        spared, back = sum(one.own for one in steps), kept.read_back_s * figures.records
        size = kept.bytes_each * figures.of_records / 1e9
        room = "" if size <= figures.most_gb else f", more than cache.most_gb = {figures.most_gb:g} lets it keep"
        if not steps or room:
            continue
        why = (
            f"from the second epoch on, {', '.join(one.name for one in steps)} need not run "
            f"({spared / figures.own_s:.0%} of the workers' time); to read a value back takes "
            f"{kept.read_back_s * 1000:.3f} ms, all of them {size:.2g} GB"
        )
        told.append(Advice(f"cache: {{fields: [{kept.field}]}}", _gain(figures, spared - back), why))
    return told


def _filling(figures: Figures) -> list[Advice]:
    """Steps that ran only since the cache did not hold their values yet."""
    once = [one for one in figures.spent if one.once]
    if not once:
        return []
    why = f"the cache was being filled; once it holds all records, {', '.join(one.title for one in once)} need not run"
    return [Advice("nothing: wait for the second epoch", _gain(figures, sum(one.own for one in once)), why)]


def _threads(figures: Figures) -> list[Advice]:
    """Fewer threads than cores, all of them computing."""
    idle_cores = figures.cores - figures.busy_cores
    share = _computed(figures)
    if figures.threads >= figures.cores or idle_cores < 0.5 or (share is not None and share < ON_PROCESSOR):
        return []
    gain = min(figures.cores / figures.threads, figures.cores / max(figures.busy_cores, 1e-9))
    why = f"{figures.threads} threads on {figures.cores} cores, of which {figures.busy_cores:.1f} were busy"
    return [Advice(f"--threads {figures.cores}", gain, why)]


def _processes(figures: Figures) -> list[Advice]:
    """Steps that hold the interpreter's lock: threads wait for each other, one core is busy."""
    held_back = figures.at_once < figures.threads or figures.held_up > 1 - ON_PROCESSOR
    one_core = 0.8 <= figures.busy_cores <= 1.3
    if figures.framework != "torch" or figures.threads < 2 or figures.cores < 2 or not (held_back and one_core):
        return []
    gain = min(figures.threads, figures.cores) / max(figures.busy_cores, 1.0)
    why = (
        f"{figures.threads} threads kept {figures.busy_cores:.1f} of {figures.cores} cores busy, as steps do that hold "
        "the lock of Python's interpreter, unless other programs take the cores"
    )
    return [Advice("--workers processes", gain, why)]


def _waiting(figures: Figures) -> list[Advice]:
    """Steps that wait for something that is not the processor, while cores are free: more of them can wait at once."""
    large = [one for one in figures.spent if one.is_step and one.own > LARGE * figures.own_s]
    waits = [one for one in large if one.computed is not None and one.computed < 1 - ON_PROCESSOR]
    if not waits or figures.busy_cores > figures.cores - 0.5:
        return []
    spare = figures.cores / max(figures.busy_cores, 1e-9)
    first = max(waits, key=lambda one: one.own)
    wall = first.own / figures.own_s
    gain = min(1 / (1 - wall / 2), spare)
    why = f"{first.title} computes {first.computed:.0%} of its time and waits the rest; waiting threads need no core"
    return [Advice(f"--threads {2 * figures.threads}", gain, why)]


def _computed(figures: Figures) -> float | None:
    """The share of the workers' time in steps in which they had a processor."""
    known = [(one.own, one.computed) for one in figures.spent if one.is_step and one.computed is not None]
    seconds = sum(spent for spent, _ in known)
    return sum(spent * computed for spent, computed in known) / seconds if seconds else None
