"""Checkpoints of one run in the object store.

``runs/RUN/checkpoints/IMAGES/state.safetensors`` is written first and ``checkpoint.json`` last; a
checkpoint exists when its JSON does, and counts when its tensors match the digest in it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field

from ganlib.config.run import RunConfig, outside_identity
from ganlib.core.checkpoint import dump_state, restore_state
from ganlib.core.state import TrainState
from ganlib.errors import CheckpointRefused, DataError, GanlibError, ObjectMissing
from ganlib.names import CheckpointKey, Count, RunName, Sha256
from ganlib.ports import ObjectStore
from ganlib.records import CheckpointRef, Record
from ganlib.training.frames import find_frames, frame_key

log = logging.getLogger(__name__)

KEEP_LAST = 2


def _complete(counters: dict[str, float]) -> dict[str, float]:
    missing = [name for name in ("images_seen", "generator_steps") if name not in counters]
    if missing:
        raise ValueError(f"the counters {', '.join(missing)} are missing")
    return counters


Counters = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=2**53, allow_inf_nan=False)]], AfterValidator(_complete)
]
"""Counters of a training state by name: steps, images seen, seconds."""


class CheckpointRecord(Record):
    """The JSON beside the tensors."""

    run: RunName
    config_digest: Sha256
    config: dict[str, str]
    """The run's configuration, flat."""
    sha256: Sha256
    """SHA-256 of ``state.safetensors``."""
    counters: Counters
    estimate_peak: float = 0.0
    """Largest Wasserstein estimate so far, for the watch over the run."""
    distance: float | None = None
    """The evaluation at this moment, when there was one."""
    origin: CheckpointKey | Literal[""] = ""
    """Key of the checkpoint that the run took over from another one before this; empty: none."""
    code_version: str = Field(max_length=64)
    torch_version: str = Field(max_length=64)
    workers: int = Field(ge=1, le=1024)

    def ref(self, key: str) -> CheckpointRef:
        """The checkpoint under ``key``."""
        return CheckpointRef(
            run=self.run,
            key=key,
            images_seen=int(self.counters["images_seen"]),
            generator_steps=int(self.counters["generator_steps"]),
            sha256=self.sha256,
        )


class Reached(Record):
    """Progress of a run, to tell later what a restart lost: ``runs/RUN/reached.json``."""

    images_seen: Count = 0
    images_lost: Count = 0
    """Images that were trained on and came to nothing, over all attempts."""


class Resumed(NamedTuple):
    """The checkpoint that a run resumes from."""

    ref: CheckpointRef
    estimate_peak: float
    images_lost: int
    """Images that the attempt before this one had trained on since; they are trained on again."""
    distance: float | None
    """The evaluation of the checkpoint, when there is one."""


class Checkpoints:
    """Saves and finds the checkpoints of a run; saving happens in a thread.

    Kept are the last two and the one with the smallest distance. Use as a context manager:
    leaving it waits for the last save and raises what went wrong in it.

    Args:
        store: The object store.
        run: The run's name.
        config: Its configuration; a checkpoint of another one is refused.
        versions: Versions of ganlib and torch, for the record.
        adopt: Another run's checkpoint to begin from, whatever its configuration, as long as the networks
            have the same shapes. Checkpoints that the run has from before it count no more.
    """

    def __init__(
        self,
        store: ObjectStore,
        run: str,
        config: RunConfig,
        versions: tuple[str, str],
        adopt: CheckpointRef | None = None,
    ) -> None:
        self._store, self._run, self._config = store, run, config
        self._adopt = adopt
        self._code_version, self._torch_version = versions
        self._prefix = f"runs/{run}/checkpoints/"
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._noted: Future[None] | None = None
        self._frame: Future[None] | None = None
        self._lost = 0
        self._stored_at: float | None = None
        self._known: dict[str, CheckpointRecord] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def wait(self) -> None:
        """Until the last save and the last frame are in the store; raises what their thread raised."""
        self._wait_for_save()
        if self._frame is not None:
            frame, self._frame = self._frame, None
            frame.result()

    def _wait_for_save(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def save(
        self, state: TrainState, workers: int, distance: float | None = None, estimate_peak: float = 0.0
    ) -> CheckpointRef:
        """Copy the state now and store it in the background; waits for the save before it."""
        data, counters = dump_state(state)
        record = CheckpointRecord(
            run=self._run,
            config_digest=self._config.digest,
            config=self._config.flat(),
            sha256=hashlib.sha256(data).hexdigest(),
            counters=counters,
            distance=distance,
            origin=self._origin,
            estimate_peak=estimate_peak,
            code_version=self._code_version,
            torch_version=self._torch_version,
            workers=workers,
        )
        key = f"{self._prefix}{state.images_seen:012d}"
        self._wait_for_save()
        self._pending = self._pool.submit(self._write, key, data, record)
        return record.ref(key)

    def reached(self, images_seen: int) -> None:
        """Note in the background how far the run has come; nothing while an earlier note is on its way."""
        if self._noted is not None:
            if not self._noted.done():
                return
            self._noted.result()
        note = Reached(images_seen=images_seen, images_lost=self._lost)
        key = f"runs/{self._run}/reached.json"
        self._noted = self._pool.submit(self._store.put, key, note.to_json().encode())

    def keep_frame(self, images_seen: int, png: bytes) -> None:
        """Store an evaluation's sample grid in the background, a frame of the training's film.

        A film may lack a frame: what goes wrong is logged, and neither stops nor delays the training.
        """
        self._frame = self._pool.submit(self._put_frame, frame_key(self._run, images_seen), png)

    def _put_frame(self, key: str, png: bytes) -> None:
        try:
            self._store.put(key, png)
        except GanlibError as error:
            log.warning("the film of run %s lacks %s: %s", self._run, key, error)

    def _write(self, key: str, data: bytes, record: CheckpointRecord) -> None:
        self._store.put(f"{key}/state.safetensors", data)
        self._store.put(f"{key}/checkpoint.json", record.to_json().encode())
        self._stored_at = time.time()
        self._known[key] = record
        self._prune()

    def _prune(self) -> None:
        keep = set(sorted(self._known)[-KEEP_LAST:])
        best = self.best()
        if best is not None:
            keep.add(best.key)
        for key in sorted(self._known.keys() - keep):
            # The JSON goes first: a checkpoint without it does not exist.
            self._store.delete(f"{key}/checkpoint.json")
            self._store.delete(f"{key}/state.safetensors")
            del self._known[key]

    def best(self) -> CheckpointRef | None:
        """The stored checkpoint with the smallest distance."""
        evaluated = [(r.distance, key) for key, r in self._known.items() if r.distance is not None]
        if not evaluated:
            return None
        key = min(evaluated)[1]
        return self._known[key].ref(key)

    def last(self) -> CheckpointRef | None:
        """The stored checkpoint with the most images seen."""
        key = max(self._known, default=None)
        return None if key is None else self._known[key].ref(key)

    def resume(self, state: TrainState) -> Resumed | None:
        """Bring ``state`` to the newest checkpoint that is whole; ``None`` when there is none.

        A damaged one is named in the log and the one before it is used; where the run has none, the one
        to adopt.

        Raises:
            CheckpointRefused: A checkpoint is of another configuration, or the one to adopt is damaged or of
                other networks.
        """
        keys = sorted(_keys(self._store, self._run))
        found: Resumed | None = None
        for key in reversed(keys):
            try:
                record = read_record(self._store, key)
                if record.origin != self._origin:
                    continue
                self._require_same(key, record)
                if found is None:
                    restore_state(state, self._tensors(key, record), record.counters)
                    lost = self._count_lost(state)
                    found = Resumed(record.ref(key), record.estimate_peak, lost, record.distance)
            except (DataError, CheckpointRefused) as error:
                if isinstance(error, _OtherConfiguration):
                    raise
                log.warning("checkpoint %s is refused: %s", key, error)
                continue
            self._known[key] = record
        return found or self._take_over(state)

    def _take_over(self, state: TrainState) -> Resumed | None:
        if self._adopt is None:
            return None
        record = read_record(self._store, self._adopt.key)
        restore_state(state, read_tensors(self._store, self._adopt), record.counters)
        # Without its distance, which the other run has reported.
        return Resumed(self._adopt, record.estimate_peak, 0, None)

    @property
    def _origin(self) -> str:
        return self._adopt.key if self._adopt is not None else ""

    def _count_lost(self, state: TrainState) -> int:
        key = f"runs/{self._run}/reached.json"
        try:
            before = Reached.from_json(self._store.get(key), source=key)
        except ObjectMissing:
            return 0
        lost = max(0, before.images_seen - state.images_seen)
        self._lost = before.images_lost + lost
        return lost

    @property
    def images_lost(self) -> int:
        """Images that were trained on and came to nothing, over all attempts."""
        return self._lost

    @property
    def stored_at(self) -> float | None:
        """Unix time in seconds at which this process last stored a checkpoint; ``None``: not yet."""
        return self._stored_at

    def _require_same(self, key: str, record: CheckpointRecord) -> None:
        if record.config_digest != self._config.digest:
            raise _OtherConfiguration(
                f"checkpoint {key} belongs to another configuration: {_differences(record, self._config)}; "
                "give the run another request name"
            )

    def _tensors(self, key: str, record: CheckpointRecord) -> bytes:
        return read_tensors(self._store, record.ref(key))


def _differences(record: CheckpointRecord, config: RunConfig) -> str:
    there, here = record.config, config.flat()
    fields = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    fields = [name for name in fields if not outside_identity(name)]
    return ", ".join(
        f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} here" for name in fields
    )


class _OtherConfiguration(CheckpointRefused):
    pass


def newest(store: ObjectStore, run: str, adopted: CheckpointRef | None) -> CheckpointRef | None:
    """The newest checkpoint of a run since it took over ``adopted``, or else that; ``None``: it has none."""
    for key in sorted(_keys(store, run), reverse=True):
        record = read_record(store, key)
        if record.origin == (adopted.key if adopted is not None else ""):
            return record.ref(key)
    return adopted


def _keys(store: ObjectStore, run: str) -> list[str]:
    """Keys of a run's checkpoints; an object that no version of ganlib has put there is passed over."""
    pattern = re.compile(rf"(runs/{re.escape(run)}/checkpoints/[0-9]{{12,16}})/checkpoint\.json")
    found = (pattern.fullmatch(info.key) for info in store.list(f"runs/{run}/checkpoints/"))
    return [match[1] for match in found if match]


def clone(store: ObjectStore, ref: CheckpointRef, run: str) -> CheckpointRef:
    """Copy another run's checkpoint into a run's own folder, where it stays while the other run goes on.

    Raises:
        CheckpointRefused: It is missing or damaged.
    """
    key = f"runs/{run}/adopted/{ref.run}-{ref.images_seen:012d}"
    record = read_record(store, ref.key)
    store.put(f"{key}/state.safetensors", read_tensors(store, ref))
    store.put(f"{key}/checkpoint.json", record.to_json().encode())
    return record.ref(key)


def retire(store: ObjectStore, run: str, keep: set[str]) -> None:
    """Delete the checkpoints of a run that nothing will go on from, its copies of others' among them.

    Args:
        store: The object store.
        run: Whose; no process may be training it.
        keep: Keys of those that stay.
    """
    # The JSON goes first, as its name comes first: a checkpoint without it does not exist.
    for prefix in (f"runs/{run}/checkpoints/", f"runs/{run}/adopted/"):
        for info in list(store.list(prefix)):
            if info.key.rpartition("/")[0] not in keep:
                store.delete(info.key)
    if not keep:
        for key in find_frames(store, run).values():
            store.delete(key)


def read_record(store: ObjectStore, key: str) -> CheckpointRecord:
    """The JSON of the checkpoint under ``key``. Raises ``DataError`` when it is missing or damaged."""
    return CheckpointRecord.from_json(store.get(f"{key}/checkpoint.json"), source=key)


def read_tensors(store: ObjectStore, ref: CheckpointRef) -> bytes:
    """The tensor file of a checkpoint, verified.

    Raises:
        CheckpointRefused: It is missing or does not match its digest.
    """
    try:
        data = store.get(f"{ref.key}/state.safetensors")
    except ObjectMissing as error:
        raise CheckpointRefused(f"checkpoint {ref.key} is half-written: it has no tensors") from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != ref.sha256:
        raise CheckpointRefused(
            f"checkpoint {ref.key} is damaged: its SHA-256 is {actual}, expected {ref.sha256}"
        )
    return data
