from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ganlib.core.dense import DenseGenerator
from ganlib.core.networks import Generator
from ganlib.core.residual import ResidualGenerator
from ganlib.core.sampling import calibrate_batch_norm
from ganlib.errors import RegistryError
from ganlib.registry.graph import OPERATORS, check_cost
from ganlib.registry.inference import for_inference
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
    folder: Path,
    change: Callable[[str, bytes], bytes],
    more: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """The program with records changed by name, and others added."""
    path = folder / PROGRAM
    changed = 0
    written = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w", compression) as target:
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
    write_program(for_inference(network), (torch.zeros(2, 5),), tmp_path / PROGRAM)
    program = read_program(tmp_path, "it")
    for batch in (1, 2, 7):
        noise = torch.randn(batch, 5)
        with torch.no_grad():
            torch.testing.assert_close(program(noise), network(noise), rtol=1e-5, atol=1e-5)
    assert program.eval() is program


def test_a_residual_program_makes_the_networks_pictures_at_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResidualGenerator(size=28, channels=1, latent_dim=5, width=4)
    calibrate_batch_norm(network, seed=0, batches=2, batch=32)
    network.eval()
    write_program(for_inference(network), (torch.zeros(2, 5),), tmp_path / PROGRAM)
    program = read_program(tmp_path, "it")
    for batch in (1, 2, 7):
        noise = torch.randn(batch, 5)
        with torch.no_grad():
            torch.testing.assert_close(program(noise), network(noise), rtol=1e-4, atol=1e-5)


def test_a_copy_of_the_archive_is_read(folder: Path) -> None:
    rewrite(folder, edited(lambda described: described.update(torch_version="another")))
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
    [
        "data/constants/opaque_obj_0",
        "data/constants/custom_obj_0",
        "data/aotinductor/model/x.so",
        "x.pkl",
        "models/other.json",
        "extra/note.json",
        "serialized_state_dict.pt",
        "data/weights/other_config.json",
    ],
)
def test_records_that_are_no_tensors_are_refused(folder: Path, record: str, tmp_path: Path) -> None:
    rewrite(folder, lambda _, data: data, more={record: pickle.dumps(Bomb(tmp_path / "mark"))})
    with pytest.raises(RegistryError, match="pickle or code"):
        read_program(folder, "it")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("place", ["in_spec", "out_spec"])
@pytest.mark.parametrize(
    ("kind", "context"),
    [
        # torch imports the module, and takes the item of what it finds: here it would load a library.
        ("builtins.dict", json.dumps({"__enum__": True, "fqn": "ctypes:cdll", "name": "libc.so.6"})),
        (
            "collections.defaultdict",
            {
                "default_factory_module": "program_attack",
                "default_factory_name": "name",
                "dict_context": [],
            },
        ),
    ],
    ids=["enum", "defaultdict"],
)
def test_types_that_torch_would_import_are_refused(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    kind: str,
    context: object,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    mark = elsewhere / "mark"
    (elsewhere / "program_attack.py").write_text(f"open({str(mark)!r}, 'w')\nname = dict\n")
    monkeypatch.syspath_prepend(elsewhere)
    tree = [1, {"type": kind, "context": context, "children_spec": []}]

    def attack(described: dict[str, Any]) -> None:
        [called] = [each for each in described["graph_module"]["module_call_graph"] if each["signature"]]
        called["signature"][place] = json.dumps(tree)

    rewrite(folder, edited(attack))
    with pytest.raises(RegistryError, match=f"other objects than one tensor .{place}"):
        read_program(folder, "it")
    assert not mark.exists()


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_record_that_is_listed_twice_is_refused(
    folder: Path, tmp_path: Path, order: tuple[bool, bool]
) -> None:
    """As bare numbers it would not be looked into, and as a pickle torch would load it."""
    mark, saved = tmp_path / "mark", io.BytesIO()
    torch.save({"x": Bomb(mark)}, saved)

    def change(record: str, data: bytes) -> bytes:
        if record == "data/weights/weight_0":
            return saved.getvalue()
        if record != "data/weights/model_weights_config.json":
            return data
        config = json.loads(data)["config"]
        first = next(name for name, entry in config.items() if entry["path_name"] == "weight_0")
        entry = config.pop(first)
        twice = {first: {**entry, "use_pickle": order[0]}, "again": {**entry, "use_pickle": order[1]}}
        return json.dumps({"config": {**twice, **config}}).encode()

    rewrite(folder, change)
    with pytest.raises(RegistryError, match="listed twice|pickle"):
        read_program(folder, "it")
    assert not mark.exists()


def test_a_weight_that_is_stretched_over_few_bytes_is_refused(folder: Path) -> None:
    def change(record: str, data: bytes) -> bytes:
        if record != "data/weights/model_weights_config.json":
            return data
        described = json.loads(data)
        for entry in described["config"].values():
            meta = entry["tensor_meta"]
            meta["sizes"] = [{"as_int": 2**15} for _ in meta["sizes"]]
            meta["strides"] = [{"as_int": 0} for _ in meta["sizes"]]
        return json.dumps(described).encode()

    rewrite(folder, change)
    with pytest.raises(RegistryError, match="fewer bytes than the"):
        read_program(folder, "it")


def test_an_archive_of_the_former_format_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    """torch.export.load would open it with another reader, and unpickle its tensors."""
    mark, written = tmp_path / "mark", io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("model/version", "8.9")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"model/serialized_{name}.pt", pickle.dumps(Bomb(mark)))
    (folder / PROGRAM).write_bytes(written.getvalue())
    with pytest.raises(RegistryError):
        read_program(folder, "it")
    assert not mark.exists()


@pytest.mark.parametrize("text", ["a: 2001-13-45", "[" * 2000, "flavors: 1", " " * (2**20 + 1)])
def test_an_mlmodel_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "MLmodel").write_text(text)
    with pytest.raises(RegistryError, match="refused"):
        read_program(folder, "it")


def networks() -> Iterator[tuple[nn.Module, int]]:
    """A network for each kind of layer that ganlib has, and its number of classes."""
    yield Generator(size=28, channels=1, latent_dim=5, width=4, norm="batch", extra_layers=1, classes=3), 3
    yield Generator(size=32, channels=3, latent_dim=5, width=4, norm="layer"), 0
    yield Generator(size=64, channels=3, latent_dim=5, width=4, norm="group", extra_layers=1), 0
    yield Generator(size=128, channels=1, latent_dim=5, width=4, norm="none", classes=3), 3
    yield ResidualGenerator(size=28, channels=1, latent_dim=5, width=4, norm="batch", classes=3), 3
    yield ResidualGenerator(size=256, channels=3, latent_dim=5, width=4, norm="layer"), 0
    yield DenseGenerator(size=28, channels=1, latent_dim=5, widths=(8,)), 0
    yield DenseGenerator(size=28, channels=1, latent_dim=5, widths=(8,), classes=3), 3


@pytest.mark.slow
def test_the_list_of_operators_is_what_the_networks_use_and_no_more(tmp_path: Path) -> None:
    used: set[str] = set()
    for network, classes in networks():
        example = (torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))[: 2 if classes else 1]
        write_program(for_inference(network.eval()), example, tmp_path / PROGRAM)
        read_program(tmp_path, "it")
        reader = torch._C.PyTorchFileReader(str(tmp_path / PROGRAM))
        graph = json.loads(reader.get_record("models/model.json"))["graph_module"]["graph"]
        used |= {node["target"] for node in graph["nodes"]}
    assert used == OPERATORS


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.fill_.Scalar",
        "torch.ops.aten._shared_memory.default",
        "torch.ops.aten.full.default",
        "torch.ops.aten.add.out",
        "torch.ops.aten.add",
        "torch.ops.mine.write.default",
        "torch.ops.load_library",
        "torch.ops.higher_order.while_loop",
        "torch.hub.load",
        "math.factorial",
        "_operator.pow",
        "#extension:mine",
    ],
)
def test_a_graph_that_calls_something_else_is_refused_by_name(folder: Path, target: Any) -> None:
    def edit(described: dict[str, Any]) -> None:
        described["graph_module"]["graph"]["nodes"][0]["target"] = target

    rewrite(folder, edited(edit))
    with pytest.raises(RegistryError, match=re.escape(str(target))):
        read_program(folder, "it")


def argument(kind: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(described: dict[str, Any]) -> None:
        described["graph_module"]["graph"]["nodes"][0]["inputs"][0]["arg"] = {kind: value}

    return edit


NESTED = {
    "name": "body",
    "graph": {"nodes": [{"target": "torch.ops.aten.from_file.default", "inputs": []}], "inputs": []},
}


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("as_graph", NESTED, "as_graph|from_file"),
        ("as_string", "/etc/passwd", "as_string"),
        ("as_custom_obj", {"name": "x", "class_fqn": "y"}, "as_custom_obj"),
        ("as_operator", "torch.load", "as_operator"),
        ("as_device", {"type": "cuda", "index": 0}, "cuda"),
    ],
)
def test_arguments_that_no_generator_needs_are_refused(
    folder: Path, kind: str, value: Any, message: str
) -> None:
    rewrite(folder, edited(argument(kind, value)))
    with pytest.raises(RegistryError, match=message):
        read_program(folder, "it")


def test_an_operator_in_a_nested_graph_is_refused(folder: Path) -> None:
    rewrite(folder, edited(lambda described: described["graph_module"]["metadata"].update(nested=NESTED)))
    with pytest.raises(RegistryError, match="from_file"):
        read_program(folder, "it")


@pytest.mark.parametrize("place", ["custom_obj_values", "treespec_namedtuple_fields"])
def test_python_objects_are_refused(folder: Path, place: str) -> None:
    def edit(described: dict[str, Any]) -> None:
        module = described["graph_module"]
        (module["graph"] if place in module["graph"] else module)[place] = {"x": {"class_fqn": "y"}}

    rewrite(folder, edited(edit))
    with pytest.raises(RegistryError, match=place):
        read_program(folder, "it")


@pytest.mark.slow
def test_a_graph_with_too_many_calls_is_refused(folder: Path) -> None:
    def edit(described: dict[str, Any]) -> None:
        graph = described["graph_module"]["graph"]
        graph["nodes"] = graph["nodes"][:1] * 100_000

    rewrite(folder, edited(edit))
    with pytest.raises(RegistryError, match="100000 calls"):
        read_program(folder, "it")


class Made(nn.Module):
    """A network of allowed operators, whose forward pass is a function; it has a weight unless told."""

    def __init__(self, make: Callable[[Tensor, Tensor], Tensor], weights: bool = True) -> None:
        super().__init__()
        self._make = make
        self.weight = nn.Parameter(torch.zeros(5)) if weights else torch.zeros(5)

    def forward(self, latents: Tensor) -> Tensor:
        return self._make(latents, self.weight)


def doubled(tensor: Tensor, times: int, dim: int) -> Tensor:
    for _ in range(times):
        tensor = torch.cat([tensor, tensor], dim)
    return tensor


def giant(latents: Tensor, weight: Tensor) -> Tensor:
    return doubled((latents + weight).unflatten(1, [1, 1, 5]), 40, 3)


def enlarged(latents: Tensor, weight: Tensor) -> Tensor:
    return functional.interpolate((latents + weight).unflatten(1, [1, 1, 5]), scale_factor=2**16)


def crowded(latents: Tensor, weight: Tensor) -> Tensor:
    """Each latent beside each other, four times over: 16 numbers for 2 pictures, 69 milliards for 512."""
    first = (latents + weight)[:, 0]
    made = first
    for dim in (1, 2, 3):
        made = made.unsqueeze(dim) + first
    return made[:, :1, :1, :1]


def endless(latents: Tensor, weight: Tensor) -> Tensor:
    square = doubled(doubled((latents + weight)[:, :1].unflatten(1, [1, 1]), 12, 1), 12, 2)
    for _ in range(17):
        square = square @ square
    return square.unsqueeze(1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Made(giant), "needs .* numbers"),
        (Made(enlarged), "needs .* numbers"),
        (Made(endless), "operations a picture"),
        (Made(lambda latents, _: latents.unflatten(1, [1, 1, 5]), weights=False), "no weights"),
        (Made(lambda latents, weight: latents + weight), "no pictures"),
        (Made(lambda latents, weight: (latents + weight).unflatten(1, [5, 1, 1])), "no pictures"),
        (
            Made(lambda latents, weight: (latents + weight).unflatten(1, [1, 1, 5]).to(torch.int64)),
            "no pictures",
        ),
    ],
    ids=[
        "giant output",
        "giant enlargement",
        "endless computation",
        "no weights",
        "a matrix",
        "five channels",
        "integers",
    ],
)
def test_what_costs_too_much_or_makes_no_pictures_is_refused_before_it_runs(
    tmp_path: Path, network: nn.Module, message: str
) -> None:
    write_program(network, (torch.zeros(2, 5),), tmp_path / PROGRAM)
    with pytest.raises(RegistryError, match=message):
        read_program(tmp_path, "it")


@pytest.mark.parametrize("factor", [4096.0, 1e30, -2.0, 0.0])
def test_an_enlargement_that_was_changed_to_cost_too_much_is_refused(tmp_path: Path, factor: float) -> None:
    def edit(described: dict[str, Any]) -> None:
        nodes = described["graph_module"]["graph"]["nodes"]
        [node] = [node for node in nodes if node["target"] == "torch.ops.aten.upsample_nearest2d.vec"]
        [factors] = [each["arg"] for each in node["inputs"] if "as_floats" in each["arg"]]
        factors["as_floats"] = [factor, factor]

    def small(latents: Tensor, weight: Tensor) -> Tensor:
        return functional.interpolate((latents + weight).unflatten(1, [1, 1, 5]), scale_factor=2)

    write_program(Made(small), (torch.zeros(2, 5),), tmp_path / PROGRAM)
    assert read_program(tmp_path, "it")(torch.zeros(2, 5)).shape == (2, 1, 2, 10)
    rewrite(tmp_path, edited(edit))
    with pytest.raises(RegistryError, match="refused"):
        read_program(tmp_path, "it")


def test_what_grows_faster_than_the_batch_is_refused() -> None:
    dynamic = [{0: torch.export.Dim.AUTO}]
    exported = torch.export.export(Made(crowded), (torch.zeros(2, 5),), dynamic_shapes=dynamic)
    with pytest.raises(RegistryError, match="needs 134217728 numbers for a picture"):
        check_cost(exported, "it")


def test_weights_that_claim_to_be_larger_than_they_are_are_refused(folder: Path) -> None:
    def change(record: str, data: bytes) -> bytes:
        if record != "data/weights/model_weights_config.json":
            return data
        described = json.loads(data)
        for entry in described["config"].values():
            entry["tensor_meta"]["sizes"][0] = {"as_int": 10**12}
        return json.dumps(described).encode()

    rewrite(folder, change)
    with pytest.raises(RegistryError, match="refused"):
        read_program(folder, "it")


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(folder: Path) -> None:
    rewrite(folder, replaced("data/weights/weight_0", bytes(2**24)), compression=zipfile.ZIP_DEFLATED)
    assert (folder / PROGRAM).stat().st_size < 2**20
    with pytest.raises(RegistryError, match="unpacks to more"):
        read_program(folder, "it")


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').abort()",
        "exit()",
        "9**9**9",
        "Pow(9, Pow(9, 9))",
        "9" * 21,
        "().__class__",
        "L['a'].size.__globals__",
    ],
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
