"""Requirements of an evaluation that are checked before a run is trained, by processes that need no torch."""

from __future__ import annotations

from ganlib.config.parts import EvaluationConfig
from ganlib.errors import ConfigError, DataError
from ganlib.records import DatasetVersion

NEIGHBOURS = 3
"""k of improved precision and recall: a picture's ball reaches to its k-th nearest neighbour."""

MIN_HELD_OUT = NEIGHBOURS + 1
"""Fewest real pictures to compare with: precision needs so many, the kernel distance 3, the Fréchet distance
2."""


def require_classes(config: EvaluationConfig, version: DatasetVersion) -> None:
    """Refuse to train a classifier where there is nothing to tell apart.

    Raises:
        ConfigError: The extractor is the classifier, and the dataset has fewer than two classes.
    """
    if config.extractor == "classifier" and len(version.classes) < 2:
        raise ConfigError(
            f"evaluation.extractor = classifier cannot be used: dataset {version.name} has "
            f"{len(version.classes) or 'no'} classes; add it again with a folder for each class, or choose "
            "efficientnet_lite0"
        )


def require_held_out(version: DatasetVersion) -> None:
    """Refuse a version that no generator can be compared with.

    Raises:
        DataError: It has fewer than :data:`MIN_HELD_OUT` held-out pictures.
    """
    train, held_out = version.count("train"), version.count("held_out")
    if held_out < MIN_HELD_OUT:
        raise DataError(
            f"dataset {version.name} has {held_out} held-out pictures and {train} to train on, and an "
            f"evaluation needs {MIN_HELD_OUT} held out; about a tenth of different pictures are, so add more "
            f"with `ganlib dataset add {version.name} --from FOLDER`, up to {25 * MIN_HELD_OUT} in all"
        )
