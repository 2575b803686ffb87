"""``ganlib sweep-demo``: a sweep over critic steps and clip value, from nothing to its pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib.demo import Demo, pages, point_to_prefect
from ganlib.preflight import preflight, require_prefect
from ganlib.quality.grids import write_png
from ganlib.report.sweep import files, pictures
from ganlib.report.table import verdict
from ganlib.settings import Settings, load_settings
from ganlib.stack import down, status, up
from ganlib.storage import open_store
from ganlib.sweep_config import load_sweep
from ganlib.sweep_space import parse_search

if TYPE_CHECKING:
    from flows.sweep import Swept

SEARCH = ("cadence.n_critic=1,2,3,5", "objective.clip=0.03,0.1,0.3")
OPTIONS: Mapping[str, Any] = {
    "algorithm": "grid",
    "scheduler": "asha",
    "total_kimg": 60,
    "grace_kimg": 20,
    "reduction": 3,
    "finalists": 3,
}
OVERRIDES: Mapping[str, Any] = {}
