"""Files from stores that misbehave in every way that networks do."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from ganlib.data.fetching import PROGRESS_BYTES, SPAN_BLOCKS, Retries, WantedFile, fetch_files
from ganlib.errors import DataError, DigestMismatch, GanlibError, Interrupted, ObjectMissing
from ganlib.fakes.stores import MemoryStore

BLOCK = PROGRESS_BYTES
SPAN = SPAN_BLOCKS * BLOCK
AT_ONCE = Retries(first=0, longest=0)
Misbehave = Callable[[int, int, int], int | None]
"""From a request's number, from 1 on, start and length: the bytes that come; ``None``: all of them."""


class Unreliable(MemoryStore):
    """Counts its requests, and misbehaves as it is told to."""

    def __init__(self, misbehave: Misbehave | None = None) -> None:
        super().__init__()
        self.misbehave = misbehave or (lambda number, start, length: None)
        self.breaks = True
        self.requests: list[tuple[str, int]] = []
        self._lock = threading.Lock()

    def stream(self, key: str, start: int, length: int) -> Generator[bytes, None, None]:
        with self._lock:
            self.requests.append((key, start))
            number = len(self.requests)
        some = self.misbehave(number, start, length)
        if some != 0:
            yield from super().stream(key, start, length if some is None else some)
        if some is not None and (self.breaks or some == 0):
            raise broken()


def broken() -> Interrupted:
    return Interrupted("s3", "memory", "GANLIB_S3_ENDPOINT_URL", "a request broke off (ReadTimeoutError)")


def content(size: int, seed: int = 0) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(size)


def put(store: MemoryStore, folder: Path, *sizes: int) -> list[WantedFile]:
    files = []
    for number, size in enumerate(sizes):
        data = content(size, number)
        store.put(f"key-{number}", data)
        digest = hashlib.sha256(data).hexdigest()
        files.append(WantedFile(f"key-{number}", folder / f"file-{number}", size, digest))
    return files


def fetch(store: MemoryStore, files: list[WantedFile], retries: Retries = AT_ONCE, threads: int = 3) -> None:
    fetch_files(store, files, retries=retries, block_bytes=BLOCK, threads=threads)


def assert_whole(files: list[WantedFile]) -> None:
    for number, file in enumerate(files):
        assert file.path.read_bytes() == content(file.size, number)
    assert {path.name for path in files[0].path.parent.iterdir()} == {file.path.name for file in files}


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_files_of_any_size_come_whole_and_no_byte_is_asked_for_twice(tmp_path: Path, threads: int) -> None:
    store = Unreliable()
    sizes = (1, SPAN - 1, 5 * SPAN, SPAN, SPAN + 1, 9 * SPAN + 5)
    files = put(store, tmp_path, *sizes)
    fetch(store, files, threads=threads)
    assert_whole(files)
    many, last = files[:-threads], files[-threads:]
    whole = {(file.key, 0): 1 for file in many}
    assert Counter(store.requests) == whole | {
        (file.key, start): 1 for file in last for start in range(0, file.size, SPAN)
    }


def test_nothing_wanted_is_nothing_done(tmp_path: Path) -> None:
    fetch(Unreliable(), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "misbehave",
    [
        lambda number, start, length: 0 if number % 2 else None,
        lambda number, start, length: PROGRESS_BYTES if number % 3 else 0,
        lambda number, start, length: 1 if number % 2 else None,
        lambda number, start, length: max(1, length // 2) if length > 100 else None,
    ],
    ids=["every other request fails", "answers break off", "one byte at first", "half of what is asked for"],
)
def test_a_range_goes_on_where_it_broke_off(tmp_path: Path, misbehave: Misbehave) -> None:
    store = Unreliable(misbehave)
    files = put(store, tmp_path, 3 * SPAN + 17, 5, 2 * SPAN)
    fetch(store, files, Retries(attempts=40, first=0, longest=0))
    assert_whole(files)


def test_a_range_that_makes_progress_is_never_given_up(tmp_path: Path) -> None:
    store = Unreliable(lambda number, start, length: min(PROGRESS_BYTES, length) if number % 2 else 0)
    (file,) = put(store, tmp_path, 8 * SPAN)
    fetch(store, [file], Retries(attempts=3, first=0, longest=0), threads=1)
    assert_whole([file])


def test_a_range_that_always_fails_is_given_up_and_what_came_stays(tmp_path: Path) -> None:
    store = Unreliable(lambda number, start, length: 0 if start == 2 * SPAN else None)
    files = put(store, tmp_path, 6 * SPAN)
    with pytest.raises(Interrupted, match="ReadTimeoutError"):
        fetch(store, files, threads=1)
    assert store.requests.count(("key-0", 2 * SPAN)) == 6
    assert not files[0].path.exists()
    store.requests.clear()
    store.misbehave = lambda number, start, length: None
    fetch(store, files, threads=1)
    assert_whole(files)
    assert ("key-0", 0) not in store.requests
    assert ("key-0", 2 * SPAN) in store.requests


def test_answers_of_next_to_nothing_are_given_up(tmp_path: Path) -> None:
    store = Unreliable(lambda number, start, length: 1)
    store.breaks = False
    files = put(store, tmp_path, SPAN)
    with pytest.raises(GanlibError, match=r"6 answers in a row broke off before 65,536 bytes .*try again"):
        fetch(store, files)


def test_pauses_grow_and_are_bounded() -> None:
    retries = Retries(first=0.2, longest=3.2)
    for failures, most in ((1, 0.2), (2, 0.4), (5, 3.2), (50, 3.2)):
        assert all(most / 2 <= retries.pause(failures) <= most for _ in range(20))


def test_a_failure_ends_the_pauses_of_the_other_threads(tmp_path: Path) -> None:
    """The test would take minutes otherwise."""
    waiting = threading.Event()

    def misbehave(number: int, start: int, length: int) -> int | None:
        if start == 0:
            waiting.set()
            return 0
        assert waiting.wait(60)
        raise ObjectMissing("key-0")

    store = Unreliable(misbehave)
    files = put(store, tmp_path, 2 * SPAN)
    with pytest.raises(ObjectMissing):
        fetch(store, files, Retries(first=600, longest=600), threads=2)


def test_a_missing_object_is_said_at_once(tmp_path: Path) -> None:
    store = Unreliable()
    files = put(store, tmp_path, 10, 10)
    store.delete("key-1")
    with pytest.raises(ObjectMissing, match="key-1"):
        fetch(store, files)


def test_a_spoiled_answer_is_brought_once_more(tmp_path: Path) -> None:
    store = Unreliable()
    files = put(store, tmp_path, 3 * SPAN)
    good = store.objects["key-0"]
    store.objects["key-0"] = b"?" + good[1:]
    seen = threading.Event()

    def misbehave(number: int, start: int, length: int) -> int | None:
        if seen.is_set():
            store.objects["key-0"] = good
        elif start == 2 * SPAN:
            seen.set()
        return None

    store.misbehave = misbehave
    fetch(store, files, threads=1)
    assert_whole(files)
    assert store.requests.count(("key-0", 0)) == 2


@pytest.mark.parametrize("harm", ["altered", "short", "empty"])
def test_a_spoiled_object_is_refused_and_leaves_nothing(tmp_path: Path, harm: str) -> None:
    store = Unreliable()
    files = put(store, tmp_path, 3 * SPAN)
    files[0].path.write_bytes(b"what was there before is wrong as well")
    good = store.objects["key-0"]
    store.objects["key-0"] = {"altered": b"?" + good[1:], "short": good[: SPAN + 1], "empty": b""}[harm]
    error, text = (
        (DigestMismatch, "damaged or altered") if harm == "altered" else (DataError, "it ends before the")
    )
    with pytest.raises(error, match=text):
        fetch(store, files, threads=1)
    assert store.requests.count(("key-0", 0)) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_object_longer_than_promised_gives_what_was_promised(tmp_path: Path) -> None:
    store = Unreliable()
    files = put(store, tmp_path, SPAN + 3)
    store.objects["key-0"] += b"more"
    fetch(store, files)
    assert_whole(files)


def _fetch_and_die(store: Unreliable, files: list[WantedFile]) -> None:
    def die(number: int, start: int, length: int) -> int | None:
        if start == 5 * SPAN:
            os._exit(9)
        return None

    store.misbehave = die
    fetch(store, files, threads=1)


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Unreliable, list[WantedFile]]:
    """A store, and a file of ten ranges whose process died while the sixth was on its way."""
    store = Unreliable()
    files = put(store, tmp_path, 10 * SPAN)
    process = multiprocessing.get_context("fork").Process(target=_fetch_and_die, args=(store, files))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    return store, files


def test_after_a_kill_only_what_was_on_its_way_is_brought_again(
    killed: tuple[Unreliable, list[WantedFile]],
) -> None:
    store, files = killed
    fetch(store, files)
    assert_whole(files)
    assert sorted(start for _, start in store.requests) == [number * SPAN for number in range(5, 10)]


def test_what_was_altered_since_a_kill_is_found_out(killed: tuple[Unreliable, list[WantedFile]]) -> None:
    store, files = killed
    part = files[0].path.with_name("file-0.part")
    with part.open("r+b") as file:
        file.write(b"?")
    fetch(store, files)
    assert_whole(files)
    assert store.requests.count(("key-0", 0)) == 1


@pytest.mark.parametrize("record", [b"", b"rubbish", bytes(8) + b"\x01" * 10, b"\x01" * 100])
def test_a_record_that_makes_no_sense_means_beginning_anew(
    killed: tuple[Unreliable, list[WantedFile]], record: bytes
) -> None:
    store, files = killed
    files[0].path.with_name("file-0.blocks").write_bytes(record)
    fetch(store, files)
    assert_whole(files)
    assert len(store.requests) == 10


def test_a_file_that_only_had_to_be_renamed_is_hashed_first(tmp_path: Path) -> None:
    store = Unreliable()
    files = put(store, tmp_path, 2 * SPAN)
    files[0].path.with_name("file-0.part").write_bytes(store.objects["key-0"])
    files[0].path.with_name("file-0.blocks").write_bytes(BLOCK.to_bytes(8, "big") + b"\x01" * 4)
    fetch(store, files)
    assert_whole(files)
    assert store.requests == []


def test_links_beside_the_file_are_not_followed(tmp_path: Path) -> None:
    store = Unreliable()
    folder = tmp_path / "cache"
    folder.mkdir()
    files = put(store, folder, 10)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / "file-0.part").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        fetch(store, files)
    assert victim.read_bytes() == b"precious"
