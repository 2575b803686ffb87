"""The configuration of a run: :mod:`ganlib.config.run` as a whole, :mod:`ganlib.config.parts` in parts."""

from ganlib.config.run import RunConfig, build_config, change_config, load_config, recipes

__all__ = ["RunConfig", "build_config", "change_config", "load_config", "recipes"]
