"""The folder a run writes: shards, a manifest and a quarantine, whole after a crash at any point.

A shard is written under a temporary name, brought to the disk, and renamed; then the journal
`progress.json`, replaced in one step, lists it together with the place in the order up to which
everything is settled. A resumed run trusts the journal alone, so it ends with the same bytes as one
that was never stopped. No file holds a time.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipelines.errors import OutputError, PipelineError, StateError, UserError
from pipelines.grid import Failure
from pipelines.sinks._base import Record, ShardWriter, Sink
from pipelines.sinks._files import FolderLock, replace_file, sha256_of, sync
from pipelines.sinks._manifest import (
    JOURNAL,
    MANIFEST,
    QUARANTINE,
    Counts,
    Epoch,
    Journal,
    Manifest,
    Run,
    Shard,
    changes,
    described,
    read_run,
    shard_name,
)
from pipelines.sinks._quarantine import Quarantine
from pipelines.sinks._values import check_fields
from pipelines.spec import Spec

_SHARD = r"shard-[0-9]{5,}\.[a-z0-9]+"
_PARTIAL = re.compile(rf"\.({_SHARD}|progress\.json|manifest\.json|quarantine\.jsonl)\.partial")
_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and give --resume to go on",
    errno.EDQUOT: "the disk quota is used up; free some space and give --resume to go on",
    errno.EFBIG: "a file would become larger than is allowed there; lower output.records_per_shard",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.EROFS: "it is on a read-only file system; choose another folder",
    errno.ENOTDIR: "a part of that path is a file, not a folder",
    errno.EEXIST: "it is a file, not a folder",
}


class Progress(NamedTuple):
    """Records settled so far, those of a resumed run's finished shards among them."""

    delivered: int
    quarantined: int


class Output:
    """The folder of a run.

    `add` and `fail` are called in order of (epoch, position); what comes before `resume_at` is
    settled already and passed over. `finish` completes the folder; `abort` leaves what is finished
    for a later run with mode "resume". `header` holds plain JSON values: what a run that goes on
    must share with the one that began. Raises OutputError when the folder cannot be used, and
    StateError when the run in it is another one.
    """

    def __init__(
        self,
        folder: Path,
        sink: Sink,
        fields: Mapping[str, Spec],
        records_per_shard: int,
        header: Mapping[str, Any],
        mode: Literal["new", "resume", "overwrite"] = "new",
    ) -> None:
        try:
            check_fields(fields)
        except ValueError as error:
            raise OutputError(str(error)) from error
        self._folder = Path(folder)
        self._sink = sink
        self._fields = dict(fields)
        self._run = Run(
            version=1,
            format=type(sink).__module__.rpartition(".")[2],
            records_per_shard=records_per_shard,
            fields=described(fields),
            header=json.loads(json.dumps(header, default=str)),
            shards=(),
            epochs=(),
        )
        self._shards: list[Shard] = []
        self._epochs: Counter[int] = Counter()
        self._resume: tuple[int, int] | None = (0, 0)
        self._last = (0, -1)
        self._writer: ShardWriter | None = None
        self._in_shard = 0
        self._quarantine = Quarantine(self._partial(QUARANTINE))
        self._lock: FolderLock | None = None
        self._made = False
        self._state: Literal["starting", "writing", "completing", "closed"] = "starting"
        with self._guard():
            self._start(mode)

    @property
    def resume_at(self) -> tuple[int, int] | None:
        """(epoch, position) of the first record still to be delivered; None when the run was complete."""
        return self._resume

    @property
    def progress(self) -> Progress:
        """Records delivered and quarantined so far."""
        return Progress(sum(self._epochs.values()), self._quarantine.records)

    def quarantined(self, epoch: int, stop: int) -> int:
        """Records quarantined in `epoch` at positions before `stop`."""
        return self._quarantine.count(epoch, stop)

    def add(self, epoch: int, position: int, record: Record) -> None:
        """Deliver a record. After a RecordError nothing of it is written, and it can be given to `fail`."""
        if self._is_settled(epoch, position):
            return
        with self._guard():
            if self._writer is None:
                self._writer = self._sink.writer(self._partial(self._next_shard), self._fields)
            self._writer.add(record)
            self._last = (epoch, position)
            self._epochs[epoch] += 1
            self._in_shard += 1
            if self._in_shard == self._run.records_per_shard:
                self._close_shard()
                self._commit(None)

    def fail(self, failure: Failure) -> None:
        """Put a record into the quarantine."""
        if self._is_settled(failure.epoch, failure.position):
            return
        with self._guard():
            self._quarantine.add(failure)
            self._last = (failure.epoch, failure.position)

    def finish(self, counts: Mapping[str, int]) -> None:
        """Complete the folder. `counts` has `read` and `left_over`, and may repeat what `progress` says."""
        if self._resume is None:
            return
        known = self.progress._asdict()
        total = {**counts, **known}
        wrong = any(counts.get(name, known[name]) != known[name] for name in known)
        if wrong or total["read"] != sum(known.values()) + total["left_over"]:
            raise PipelineError(f"the accounts do not add up: the run counts {dict(counts)}, its output {known}")
        with self._guard():
            if self._in_shard:
                self._close_shard()
            else:
                self._drop_shard()
            settled = Counts(**total)
            self._commit(settled)
            self._complete(settled)

    def abort(self) -> None:
        """Stop: remove what is half-written, keep finished shards and the journal for a later resume."""
        if self._state == "closed":
            return
        state, self._state = self._state, "closed"
        with suppress(OSError):  # the error that led here is the one to tell
            self._quarantine.close()
            if state == "writing":
                self._drop_shard()
                if not self._shards and not (self._folder / self._next_shard).exists():  # nothing to go on from
                    self._quarantine.path.unlink(missing_ok=True)
                    (self._folder / JOURNAL).unlink(missing_ok=True)
        self._release()

    def stop(self, failures: Iterable[Failure]) -> Path:
        """Abort a run that lost too many records; the list of them stays, as a file for the user to read.

        `failures` may repeat what `fail` was given. A resumed run replaces the list by its own.
        """
        for failure in failures:
            if (failure.epoch, failure.position) > self._last:
                self.fail(failure)
        with self._guard():
            self._quarantine.commit()
            shutil.copyfile(self._quarantine.path, self._folder / QUARANTINE)  # the partial one is for a resumed run
            self._drop_shard()
            self._quarantine.close()
        self._state = "closed"
        self._release()
        return self._folder / QUARANTINE

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        if self._made:
            with suppress(OSError):  # it is not empty
                self._folder.rmdir()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn a failure to write into a sentence, and leave nothing half-written."""
        try:
            yield
        except OSError as error:
            self.abort()
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
            raise OutputError(f"cannot write to {self._folder}: {reason}") from error
        except UserError:
            self.abort()
            raise

    def _is_settled(self, epoch: int, position: int) -> bool:
        if self._resume is None or (epoch, position) < self._resume:
            return True
        if self._state != "writing":
            raise PipelineError(f"the output {self._folder} is closed")
        if (epoch, position) <= self._last:
            raise PipelineError(f"expected a record after {self._last}, got {(epoch, position)}")
        return False

    # Beginning

    def _start(self, mode: Literal["new", "resume", "overwrite"]) -> None:
        self._made = not os.path.lexists(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._refuse_used(mode)
        self._lock = FolderLock(self._folder)
        self._refuse_used(mode)  # another run may have come in between
        old = self._old()
        names = self._names()
        foreign = [name for name in names if not _is_ours(name, old)]
        if mode == "overwrite":
            self._clear(names, foreign)
            old = None
        if old is not None:
            self._continue(old, foreign)
            return
        if mode == "resume" and foreign:
            raise OutputError(f"{self._folder} holds no run to go on with, but {_some(foreign)}; choose another folder")
        self._quarantine.open(None)
        self._state = "writing"
        self._commit(None)

    def _refuse_used(self, mode: str) -> None:
        if mode == "new" and self._names():
            raise OutputError(f"{self._folder} exists; give --resume to go on or --overwrite to start again")

    def _names(self) -> list[str]:
        return sorted(name for name in os.listdir(self._folder) if name != FolderLock.NAME)

    def _old(self) -> Journal | Manifest | None:
        """The run in the folder: its journal where it is under way, else its manifest."""
        try:
            return read_run(self._folder / JOURNAL, Journal)
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise OutputError(f"{self._folder}: {error}; choose another folder, or delete this one yourself") from error
        try:
            return read_run(self._folder / MANIFEST, Manifest)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OutputError(f"{self._folder}: {error}; choose another folder, or delete this one yourself") from error

    def _clear(self, names: list[str], foreign: list[str]) -> None:
        if foreign:
            raise OutputError(
                f"{self._folder} holds files that no run wrote there: {_some(foreign)}; "
                "move them away or choose another folder"
            )
        # the lists go last, so that a run cut off here can be overwritten as well
        for name in sorted(names, key=lambda name: (name == JOURNAL, name == MANIFEST)):
            (self._folder / name).unlink()

    def _continue(self, old: Journal | Manifest, foreign: list[str]) -> None:
        changed = changes(old, self._run)
        if changed:
            raise StateError(
                f"the run in {self._folder} cannot go on, since something was changed: {changed}; "
                "undo that, or give --overwrite to start again"
            )
        for shard in old.shards:
            self._check(shard)
        clashing = [name for name in foreign if re.fullmatch(_SHARD, name)]
        if clashing:
            raise OutputError(f"{self._folder} holds shards that its run did not write: {_some(clashing)}; remove them")
        self._shards = list(old.shards)
        self._epochs = Counter({epoch.epoch: epoch.records for epoch in old.epochs})
        if isinstance(old, Manifest):
            self._quarantine.records = old.counts.quarantined
            self._resume, self._state = None, "closed"
            self._release()
            return
        listed = {shard.file for shard in old.shards}
        for name in self._names():
            if (re.fullmatch(_SHARD, name) and name not in listed) or name.startswith(".shard-"):
                (self._folder / name).unlink()
        finished = old.counts is not None and not self._quarantine.path.exists()
        if finished:  # cut off after this file was renamed, before the journal was removed
            self._quarantine.path = self._folder / QUARANTINE
        elif old.counts is None:
            (self._folder / QUARANTINE).unlink(missing_ok=True)  # of a run that lost too many
        self._quarantine.open(old.quarantine)
        self._resume = old.next
        self._last = (old.next[0], old.next[1] - 1)
        self._state = "writing" if old.counts is None else "completing"
        if old.counts is not None:
            self._complete(old.counts)

    def _check(self, shard: Shard) -> None:
        path = self._folder / shard.file
        found = path.lstat().st_size if os.path.lexists(path) else None
        if found != shard.bytes:
            has = "is missing" if found is None else f"has {found} bytes, {shard.bytes} were written"
            raise StateError(f"{path} {has}; put it back, or give --overwrite to start again")

    # Writing

    @property
    def _next_shard(self) -> str:
        return shard_name(len(self._shards), self._sink.suffix)

    def _partial(self, name: str) -> Path:
        return self._folder / f".{name}.partial"

    def _close_shard(self) -> None:
        assert self._writer is not None
        name, partial = self._next_shard, self._partial(self._next_shard)
        writer, self._writer = self._writer, None
        writer.close()
        sync(partial)
        if os.path.lexists(self._folder / name):
            raise OutputError(f"{self._folder / name} appeared during the run, which did not write it; remove it")
        size = partial.stat().st_size
        shard = Shard(file=name, records=self._in_shard, bytes=size, sha256=sha256_of(partial))
        os.rename(partial, self._folder / name)
        sync(self._folder)
        self._shards.append(shard)
        self._in_shard = 0

    def _drop_shard(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with suppress(Exception):  # it may be broken in any way, and the file goes
                writer.close()
        self._partial(self._next_shard).unlink(missing_ok=True)

    def _now(self) -> dict[str, Any]:
        epochs = tuple(Epoch(epoch=number, records=count) for number, count in sorted(self._epochs.items()))
        return {**dict(self._run), "shards": tuple(self._shards), "epochs": epochs}

    def _commit(self, counts: Counts | None) -> None:
        """Settle everything up to the last record: its shard and the quarantine are on the disk."""
        kept = self._quarantine.commit()
        place = (self._last[0], self._last[1] + 1)
        journal = Journal(**self._now(), next=place, quarantine=kept, counts=counts)
        replace_file(self._folder / JOURNAL, journal.to_text())
        if counts is not None:
            self._state = "completing"

    def _complete(self, counts: Counts) -> None:
        """The last steps, which can be done again after a crash in any of them."""
        self._quarantine.close()
        if self._quarantine.path.name != QUARANTINE:
            os.replace(self._quarantine.path, self._folder / QUARANTINE)
        replace_file(self._folder / MANIFEST, Manifest(**self._now(), counts=counts).to_text())
        (self._folder / JOURNAL).unlink()
        sync(self._folder)
        self._resume, self._state = None, "closed"
        self._made = False
        self._release()


def _is_ours(name: str, old: Journal | Manifest | None) -> bool:
    """Whether a run wrote the file `name`, as far as its lists and its way of naming tell."""
    if _PARTIAL.fullmatch(name):
        return True
    if old is None:
        return False
    if name in (JOURNAL, MANIFEST, QUARANTINE) or name in {shard.file for shard in old.shards}:
        return True
    # renamed, but not listed yet
    under_way = isinstance(old, Journal) and re.fullmatch(_SHARD, name) is not None
    return under_way and name.partition(".")[0] == shard_name(len(old.shards), "")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
