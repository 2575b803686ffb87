"""The layout of the project: rooms, file names, public names, and the imports that users rely on."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DATA_FOLDERS = {"recipes"}
"""Folders of ganlib that hold no Python."""

ACCEPTED_FILE_NAMES = {
    "batches": "bench/batches.py measures data/batches.py",
    "cache": "data/cache.py keeps datasets, generators/cache.py generators",
    "evaluation": "bench/evaluation.py measures release/evaluation.py",
    "loop": "bench/loop.py measures core/loop.py",
    "mlflow": "registry and tracking each have one adapter to MLflow",
    "parts": "config/parts.py: parts of a configuration; bench/parts.py: parts of the benchmark",
    "program": "cluster/program.py: a job's own process; registry/program.py: an exported torch program",
    "records": "ganlib/records.py for all rooms, sweep/records.py for sweeps",
    "run": "config/run.py: a run's configuration; bench/run.py: the benchmark's command",
    "spec": "training/spec.py specifies a run, sweep/spec.py a sweep",
    "state": "core/state.py: state of a training; stack/state.py: state of the services",
    "sweep": "the command, the flow, the job and the report of a sweep",
    "versions": "data/versions.py: versions of a dataset; registry/versions.py: versions of a model",
}
"""Names that several files share, and why."""

NAMED_FOR_COMMANDS = ("ganlib/cli/", "flows/", "ganlib/bench/")
"""Here functions are named for commands, flows, tasks and measurements, and call what has that name."""

ACCEPTED_FUNCTION_NAMES = {
    "connect": "cluster/launch.py connects to the cluster from outside, cluster/program.py from inside a job",
    "judge": "the last step of the evaluation job and of the comparison job, from all workers' shares",
    "main": "the entry point of a program",
}
"""Names that several public functions share, and why."""


@cache
def modules() -> dict[str, ast.Module]:
    """Path relative to the project → syntax tree, for all modules of ganlib and flows."""
    paths = sorted(path for package in ("ganlib", "flows") for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in paths}


def places(*kinds: type[ast.stmt], skip: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Name → files, for public definitions of these kinds at the top level of modules."""
    found = defaultdict(list)
    for path, module in modules().items():
        if not path.startswith(skip):
            for statement in module.body:
                name = getattr(statement, "name", "_")
                if isinstance(statement, kinds) and not name.startswith("_"):
                    found[name].append(path)
    return found


def shared(found: dict[str, list[str]], accepted: dict[str, str]) -> dict[str, list[str]]:
    """The names that stand in several files and are not accepted."""
    return {name: paths for name, paths in found.items() if len(paths) > 1 and name not in accepted}


def public_docstrings() -> Iterator[tuple[str, str]]:
    """Where, and the text: docstrings of modules, public classes and functions, and their attributes."""
    for path, module in modules().items():
        yield path, ast.get_docstring(module) or ""
        yield from _docstrings_below(path, module)


def _docstrings_below(path: str, scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, str]]:
    for before, statement in zip([None, *scope.body], scope.body, strict=False):
        where = f"{path}:{statement.lineno}"
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if statement.name.startswith("_"):
                continue
            yield where, ast.get_docstring(statement) or ""
            if isinstance(statement, ast.ClassDef):
                yield from _docstrings_below(path, statement)
        elif isinstance(before, (ast.Assign, ast.AnnAssign)):
            # A string below an assignment is the docstring of the assigned name.
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield where, text


def test_few_modules_lie_outside_of_rooms() -> None:
    assert len(list((ROOT / "ganlib").glob("*.py"))) <= 10


def test_every_room_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    folders = {path.name for path in (ROOT / "ganlib").iterdir() if path.is_dir()} - {"__pycache__"}

    assert {f"ganlib.{folder}" for folder in folders - DATA_FOLDERS} <= named
    for folder in DATA_FOLDERS:
        assert not list((ROOT / "ganlib" / folder).rglob("*.py"))


def test_no_two_files_share_a_name() -> None:
    found = defaultdict(list)
    for path in modules():
        found[Path(path).stem].append(path)
    del found["__init__"]

    assert shared(found, ACCEPTED_FILE_NAMES) == {}


def test_no_two_public_classes_share_a_name() -> None:
    assert shared(places(ast.ClassDef), {}) == {}


def test_no_two_public_functions_share_a_name() -> None:
    found = places(ast.FunctionDef, ast.AsyncFunctionDef, skip=NAMED_FOR_COMMANDS)

    assert shared(found, ACCEPTED_FUNCTION_NAMES) == {}


@pytest.mark.parametrize("start", ["Of ", "What "])
def test_docstrings_name_their_subject(start: str) -> None:
    found = [
        f"{where}: {text.splitlines()[0]}" for where, text in public_docstrings() if text.startswith(start)
    ]

    assert found == []


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("ganlib", ["GanlibError", "load_generator"]),
        ("ganlib.errors", ["GanlibError", "ConfigError", "DataError", "ServiceError", "UnknownName"]),
        ("ganlib.settings", ["Settings", "load_settings"]),
        (
            "ganlib.records",
            ["Comparison", "DatasetVersion", "Decision", "Evaluation", "RegisteredGenerator", "TrainResult"],
        ),
        ("ganlib.config", ["RunConfig", "load_config", "recipes"]),
        ("ganlib.data.raw", ["add_dataset"]),
        ("ganlib.fakes", ["MemoryStore"]),
        ("ganlib.generators", ["LoadedGenerator"]),
        ("ganlib.registry", ["MlflowRegistry"]),
        ("ganlib.storage", ["S3Store", "open_prefix", "open_store"]),
        ("ganlib.tracking", ["MlflowTracker"]),
    ],
)
def test_the_public_names_can_be_imported(module: str, names: list[str]) -> None:
    imported = importlib.import_module(module)

    assert [name for name in names if not hasattr(imported, name)] == []
