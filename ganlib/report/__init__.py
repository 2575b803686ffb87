"""Pictures and tables of a sweep, made from its :class:`~ganlib.sweep.records.SweepResult` alone.

Figures are built with Matplotlib's objects and drawn by its Agg canvas: no window, no global state.
:mod:`ganlib.report.sweep` puts them together.
"""
