"""What the threads of a run do, second by second: noted by the engines, asked by the progress line and by `profile`.

A worker says when it comes to another place: reading, a step, stacking, standing idle. That costs less than a
microsecond and comes once per batch and step, so it is always on. A recording, which `profile` makes, keeps the single
spans as well, with the processor's time, the levels of the queue and the bytes read.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")
SPANS = 100_000
"""Spans that a recording holds, the last ones; a busy engine makes some thousands a second."""
WINDOW_S = 3.0
"""How far back the progress line looks."""


@dataclass(frozen=True, eq=False)  # by identity, which costs least: there is one object for each place
class Place:
    """Where a thread is: `kind` is step, stage or wait; `step`s have a field, "" for those on the batch."""

    name: str
    kind: str = "stage"
    field: str = ""


READ = Place("read")
KEPT = Place("cache")
STACK = Place("stack")
MOVE = Place("to the device")
FINISH = Place("hand over")
TURN = Place("waits for its turn", "wait")
IDLE = Place("idle", "wait")
GRAPH = Place("the TensorFlow graph", "wait")
"""Where Python does not see what a thread does."""
_WAITING, _AWAY = Place("waits for a batch", "wait"), Place("the consumer", "wait")


@dataclass(frozen=True)
class Span:
    """A thread's stay at a place, in seconds of `time.perf_counter`."""

    lane: int
    place: Place
    start: float
    end: float


@dataclass
class Recording:
    """What is kept of a while: spans, and for each place the processor's seconds in the wall's seconds."""

    spans: deque[Span] = field(default_factory=lambda: deque(maxlen=SPANS))
    computed: defaultdict[Place, float] = field(default_factory=lambda: defaultdict(float))
    within: defaultdict[Place, float] = field(default_factory=lambda: defaultdict(float))
    ready: list[int] = field(default_factory=list)
    """Batches that were ready each time the consumer asked for one, out of `room`."""
    room: int | None = None
    bytes_read: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spent(self, span: Span, computed: float | None) -> None:
        """A thread leaves a place, where it had the processor for `computed` seconds, if that is known."""
        self.spans.append(span)
        if computed is not None:
            with self._lock:
                self.computed[span.place] += computed
                self.within[span.place] += span.end - span.start

    def has_read(self, size: int) -> None:
        with self._lock:
            self.bytes_read += size


class Lane:
    """One thread's times; written by that thread alone."""

    def __init__(self, number: int, place: Place) -> None:
        self.number = number
        self.seconds: dict[Place, float] = {}
        self.state = (place, time.perf_counter())
        self.changes = 0
        """Odd while `seconds` and `state` do not belong together."""
        self.computed: float | None = None
        """The processor's seconds of this thread when it came to its place, if a recording was on."""

    def at(self, place: Place, recording: Recording | None = None) -> None:
        before, since = self.state
        now = time.perf_counter()
        self.changes += 1
        self.seconds[before] = self.seconds.get(before, 0.0) + now - since
        self.state = (place, now)
        self.changes += 1
        if recording is None:
            self.computed = None
            return
        computed = time.thread_time()
        span = Span(self.number, before, since, now)
        recording.spent(span, None if self.computed is None else computed - self.computed)
        self.computed = computed

    def until_now(self) -> dict[Place, float]:
        """Seconds by place, what is under way included; from any thread."""
        while True:
            changes = self.changes
            state, seconds = self.state, dict(self.seconds)
            if changes == self.changes and not changes % 2:  # else the thread went on between the two
                seconds[state[0]] = seconds.get(state[0], 0.0) + max(time.perf_counter() - state[1], 0.0)
                return seconds


@dataclass(frozen=True)
class Times:
    """Seconds since the clock was made: of the workers by place, and of the consumer, waiting and away."""

    workers: Mapping[Place, float]
    waited: float
    away: float

    def since(self, earlier: Times) -> Times:
        spent = {place: seconds - earlier.workers.get(place, 0.0) for place, seconds in self.workers.items()}
        spent = {place: seconds for place, seconds in spent.items() if seconds > 0}
        return Times(spent, self.waited - earlier.waited, self.away - earlier.away)


class Clock:
    """The lanes of an engine: one for each worker thread that is alive, and the consumer's."""

    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.settle: Callable[[], None] | None = None
        """Waits for the device; a recording calls it, so that a kernel's time falls on its own step."""
        self._changed = threading.Lock()
        self._mine = threading.local()
        self._lanes: list[Lane] = []
        self._past: dict[Place, float] = {}
        self._consumer = Lane(-1, IDLE)

    def at(self, place: Place) -> None:
        """The calling worker comes to `place`."""
        recording = self.recording
        if recording is not None and self.settle is not None:
            self.settle()
        lane = getattr(self._mine, "lane", None)
        if lane is None or lane.number < 0:
            lane = self._mine.lane = self._new(place)
        lane.at(place, recording)

    def within(self, place: Place) -> None:
        """The calling thread comes to `place` if it is a worker."""
        lane = getattr(self._mine, "lane", None)
        if lane is not None and lane.number >= 0:
            self.at(place)

    def _new(self, place: Place) -> Lane:
        with self._changed:
            lane = Lane(len(self._lanes), place)
            self._lanes.append(lane)
        return lane

    def watched(self, batches: Iterator[Item]) -> Iterator[Item]:
        """The batches of an epoch, with the consumer's times; at its end the workers are gone."""
        consumer = self._consumer
        consumer.at(_WAITING)
        try:
            for batch in batches:
                consumer.at(_AWAY)
                yield batch
                consumer.at(_WAITING)
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()
            consumer.at(IDLE)
            self._end_lanes()

    def _end_lanes(self) -> None:
        """The worker threads have ended: keep their sums alone."""
        with self._changed:
            for lane in self._lanes:
                if self.recording is not None:
                    self.recording.spent(Span(lane.number, *lane.state, time.perf_counter()), None)
                for place, seconds in lane.until_now().items():
                    self._past[place] = self._past.get(place, 0.0) + seconds
                lane.number = -1
            self._lanes = []

    def times(self) -> Times:
        """All times so far."""
        with self._changed:
            total = dict(self._past)
            for lane in self._lanes:
                for place, seconds in lane.until_now().items():
                    total[place] = total.get(place, 0.0) + seconds
        consumer = self._consumer.until_now()
        return Times(total, consumer.get(_WAITING, 0.0), consumer.get(_AWAY, 0.0))

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Keeps single spans while it is open."""
        self.recording = recording = Recording()
        try:
            yield recording
        finally:
            self.recording = None

    def has_read(self, raw: Mapping[str, Any]) -> None:
        """Counts the bytes of a record's raw values, while a recording is on."""
        if self.recording is not None:
            self.recording.has_read(sum(map(size_of, raw.values())))


def size_of(value: Any) -> int:
    """Bytes of a value: of its text in UTF-8, of its numbers, of a list's entries."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    if isinstance(value, bytes):
        return len(value)
    held = getattr(value, "nbytes", None)
    if held is None and hasattr(value, "shape"):  # a TensorFlow tensor
        return math.prod(value.shape) * value.dtype.size or sum(map(len, value.numpy().ravel()))
    return int(held) if held is not None else 8 * (value is not None)


class Waits:
    """Says what a run waits on, as far as its last seconds show; `consumer` is what takes the batches."""

    def __init__(self, clock: Clock, consumer: str = "the consumer") -> None:
        self._clock, self._consumer = clock, consumer
        self._seen: deque[tuple[float, Times]] = deque([(time.perf_counter(), clock.times())])

    def __call__(self) -> str:
        now, times = time.perf_counter(), self._clock.times()
        while len(self._seen) > 1 and now - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        told = waits_on(times.since(self._seen[0][1]), self._consumer)
        self._seen.append((now, times))
        return told


def waits_on(times: Times, consumer: str = "the consumer") -> str:
    """The place that holds a run up: `consumer` when the workers stand idle more than it waits for them.

    Otherwise the place at which they spent the most time. Empty where nothing was seen.

    Examples:
        >>> decode = Place("image.decode", "step", "image")
        >>> waits_on(Times({READ: 1.0, decode: 6.0, IDLE: 1.0}, waited=3.5, away=0.5))
        'image.decode'
        >>> waits_on(Times({READ: 1.0, decode: 2.0, IDLE: 5.0}, waited=0.1, away=3.9))
        'the consumer'
    """
    spent, taken = times.workers, times.waited + times.away
    if not taken:
        return ""
    if not spent:
        return consumer if times.away > times.waited else "worker processes"
    waiting, whole = times.waited / taken, sum(spent.values())
    if GRAPH in spent:  # idle threads cannot be told from busy ones there
        if waiting < 0.1:
            return consumer
        return READ.name if spent.get(READ, 0.0) > whole / 2 else GRAPH.name
    if spent.get(IDLE, 0.0) / whole > waiting:
        return consumer
    work = {place: seconds for place, seconds in spent.items() if place.kind != "wait"}
    return max(work, key=work.__getitem__).name if work else ""
