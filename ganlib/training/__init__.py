"""One training run around the loop of :mod:`ganlib.core.loop`: specification, building, host, checkpoints."""
