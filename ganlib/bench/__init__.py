"""Benchmarks: how ganlib compares with what one would write without it, measured in one run.

``ganlib bench`` (:mod:`ganlib.bench.run`) measures, prints a table and writes
``$GANLIB_HOME/bench.json``. Every timed part is a fresh process, ``python -m ganlib.bench.MODULE …``,
which prints a :class:`~ganlib.bench.parts.Measured` as its last line: so threads, caches and memory
peaks are its own. All of it runs on the CPU.
"""
