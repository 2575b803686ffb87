"""Callers that take turns, a step at a time, in an order drawn from a seed; some die between two steps."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable


class Killed(BaseException):
    """A process that ends without a word."""


class Turns:
    """Runs callers in threads of which one at a time goes on, until its next :meth:`step`.

    Args:
        seed: Of the order and of the deaths.
        deaths: Probability that a caller dies at a step.
    """

    def __init__(self, seed: int, deaths: float) -> None:
        self._random, self._deaths = random.Random(seed), deaths
        self._turns: dict[int, threading.Semaphore] = {}
        self._back = threading.Semaphore(0)
        self._thread = threading.local()

    def run(self, callers: list[Callable[[], None]]) -> None:
        """Let all callers run to their ends."""
        living = dict(enumerate(callers))
        self._turns = {number: threading.Semaphore(0) for number in living}
        done: set[int] = set()

        def body(number: int) -> None:
            self._thread.number = number
            self._turns[number].acquire()
            try:
                living[number]()
            except Killed:
                pass
            finally:
                done.add(number)
                self._back.release()

        threads = [threading.Thread(target=body, args=(number,)) for number in living]
        for thread in threads:
            thread.start()
        caller = 0
        while waiting := sorted(living.keys() - done):
            # Several steps of one at a time, so that another stands still for long.
            if caller not in waiting or self._random.random() < 0.3:
                caller = self._random.choice(waiting)
            self._turns[caller].release()
            self._back.acquire()
        for thread in threads:
            thread.join()
        self._turns = {}

    def step(self) -> None:
        """Let others go on; outside :meth:`run` this does nothing."""
        if self._turns:
            self._back.release()
            self._turns[self._thread.number].acquire()
            if self._random.random() < self._deaths:
                raise Killed
