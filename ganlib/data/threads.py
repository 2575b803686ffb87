"""Work on a stream of items in threads, in order, with a bounded number of items in hand."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

TRANSFER_THREADS = 16
"""Threads that wait for object storage; they hardly use the processor."""


def decode_threads() -> int:
    """Threads that decode and resize: one for each processor this process may use, at most 16."""
    return max(1, min(16, len(os.sched_getaffinity(0))))


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, name: str
) -> Generator[Result, None, None]:
    """``map(work, items)`` in threads: results in the order of the items.

    At most ``2 * threads`` items are in hand at once, so memory does not grow with the stream. An
    error in ``work`` is raised where its result would have come; items not yet begun are dropped.

    Args:
        work: Called once for each item, in some thread.
        items: Read lazily, in the calling thread.
        threads: Worker threads.
        name: Prefix of the threads' names.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
