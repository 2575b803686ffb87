from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ganlib.core.dense import DenseGenerator
from ganlib.core.networks import Generator
from ganlib.errors import RegistryError
from ganlib.registry.program import PROGRAM, read_program, refuse_pickles, write_program


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    network = DenseGenerator(size=28, channels=1, latent_dim=5, widths=(8,), classes=3).eval()
    write_program(network, (torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)), path)
    return path.read_bytes()


@pytest.fixture
def folder(original: bytes, tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / PROGRAM).write_bytes(original)
    return tmp_path


def rewrite(
    folder: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None
) -> None:
    """The program with records changed by name, and others added."""
    path = folder / PROGRAM
    changed = 0
    written = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            new = change(entry.filename.partition("/")[2], data)
            changed += new != data
            target.writestr(entry.filename, new)
        root = source.namelist()[0].partition("/")[0]
        for name, data in (more or {}).items():
            target.writestr(f"{root}/{name}", data)
    assert changed or more
    path.write_bytes(written.getvalue())


def replaced(name: str, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda record, data: new if record == name else data


def edited(edit: Callable[[dict[str, Any]], None]) -> Callable[[str, bytes], bytes]:
    def change(record: str, data: bytes) -> bytes:
        if record != "models/model.json":
            return data
        described = json.loads(data)
        edit(described)
        return json.dumps(described).encode()

    return change


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_a_program_makes_the_networks_pictures_at_any_batch(norm: Any, tmp_path: Path) -> None:
    network = Generator(size=28, channels=1, latent_dim=5, width=4, norm=norm).eval()
    write_program(network, (torch.zeros(2, 5),), tmp_path / PROGRAM)
    program = read_program(tmp_path, "it")
    for batch in (1, 2, 7):
        noise = torch.randn(batch, 5)
        with torch.no_grad():
            torch.testing.assert_close(program(noise), network(noise), rtol=1e-5, atol=1e-5)
    assert program.eval() is program


def test_an_unchanged_copy_of_the_archive_is_read(folder: Path) -> None:
    rewrite(folder, lambda _, data: data, more={"extra/note.json": b"{}"})
    read_program(folder, "it")


def test_a_pickle_in_the_programs_records_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    saved = io.BytesIO()
    torch.save({"x": Bomb(mark)}, saved)
    for payload in (pickle.dumps(Bomb(mark)), saved.getvalue()):
        rewrite(folder, replaced("data/sample_inputs/model.pt", payload))
        with pytest.raises(RegistryError, match="pickle"):
            read_program(folder, "it")
    assert not mark.exists()


@pytest.mark.parametrize(
    "record",
    ["data/constants/opaque_obj_0", "data/constants/custom_obj_0", "data/aotinductor/model/x.so", "x.pkl"],
)
def test_records_that_are_no_tensors_are_refused(folder: Path, record: str, tmp_path: Path) -> None:
    rewrite(folder, lambda _, data: data, more={record: pickle.dumps(Bomb(tmp_path / "mark"))})
    with pytest.raises(RegistryError, match="pickle or code"):
        read_program(folder, "it")
    assert not (tmp_path / "mark").exists()


def test_a_graph_that_calls_something_else_is_refused(folder: Path) -> None:
    def edit(described: dict[str, Any]) -> None:
        described["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"

    rewrite(folder, edited(edit))
    with pytest.raises(RegistryError, match=r"torch\.hub\.load"):
        read_program(folder, "it")


@pytest.mark.parametrize(
    "code", ["__import__('os').abort()", "exit()", "().__class__", "L['a'].size.__globals__"]
)
def test_sizes_and_guards_that_are_no_arithmetic_are_refused(
    folder: Path, code: str, original: bytes
) -> None:
    def guard(described: dict[str, Any]) -> None:
        described["guards_code"] = [code]

    def size(described: dict[str, Any]) -> None:
        values = described["graph_module"]["graph"]["tensor_values"]
        sizes = next(size for value in values.values() for size in value["sizes"] if "as_expr" in size)
        sizes["as_expr"]["expr_str"] = code

    for edit in (guard, size):
        (folder / PROGRAM).write_bytes(original)
        rewrite(folder, edited(edit))
        with pytest.raises(RegistryError, match="no arithmetic"):
            read_program(folder, "it")


@pytest.mark.parametrize("name", ["a.pkl", "files/a.PTH", "weights.pt", "a.joblib", "x.npy"])
def test_files_named_like_pickles_are_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"anything")
    with pytest.raises(RegistryError, match="pickle"):
        refuse_pickles(folder, "it")


def test_pickles_and_code_are_refused_by_content_under_any_name(folder: Path) -> None:
    saved = io.BytesIO()
    torch.save({}, saved)
    for content in (pickle.dumps([1]), pickle.dumps([1], protocol=2), saved.getvalue()):
        (folder / "grid.png").write_bytes(content)
        with pytest.raises(RegistryError, match="pickle"):
            refuse_pickles(folder, "it")
    (folder / "grid.png").write_bytes(b"\x89PNG")
    refuse_pickles(folder, "it")
    (folder / "helper.py").write_text("raise SystemExit")
    with pytest.raises(RegistryError, match="code"):
        refuse_pickles(folder, "it")


@pytest.mark.parametrize("text", ["flavors: {python_function: {code: src}}", "[", "flavors: 3", "a: b\n\x00"])
def test_a_description_that_brings_code_or_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "MLmodel").write_text(text)
    with pytest.raises(RegistryError, match="refused"):
        refuse_pickles(folder, "it")


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_program_is_refused(folder: Path, damage: str, original: bytes) -> None:
    if damage == "gone":
        (folder / PROGRAM).unlink()
    else:
        (folder / PROGRAM).write_bytes(original[: len(original) // 2] if damage == "cut" else b"")
    with pytest.raises(RegistryError, match="refused"):
        read_program(folder, "it")
