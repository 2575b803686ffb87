"""WGAN training: networks, objectives, cadence, state, steps and the loop.

Nothing here knows of clusters, storage or configuration files; it needs torch and the standard
library (and safetensors for checkpoints). Read :mod:`ganlib.core.loop` first.
"""
