"""Exported programs (pt2) as files: written by torch.export, and read only when they hold no pickle.

Nothing here needs MLflow, whose import takes longer than loading a program does.
"""

from __future__ import annotations

import io
import json
import math
import pickletools
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.export.pt2_archive._package import load_pt2

from ganlib.errors import RegistryError
from ganlib.ports import Publication
from ganlib.registry.graph import check_cost, check_description
from ganlib.registry.inference import for_inference, joined, one_input

PROGRAM = "data/model.pt2"
"""Path of the program among a version's files."""

_loading = threading.Lock()
"""torch's loader keeps its state in a global and fails when two threads load at once."""
_PICKLE_NAMES = re.compile(r"\.(pkl|pickle|cloudpickle|dill|joblib|pth?|ckpt|npy|npz)$", re.IGNORECASE)
_MODEL = "models/model.json"
_CONFIGS = {"data/weights/model_weights_config.json", "data/constants/model_constants_config.json"}
_SAMPLE = "data/sample_inputs/model.pt"
_TEXT_RECORDS = {"archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id"}
_PAYLOAD = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_TENSOR_GLOBALS = re.compile(
    r"^(torch\._utils _rebuild_tensor_v2|torch\._tensor _rebuild_from_type_v2|torch Tensor|torch \w+Storage"
    r"|torch\.storage UntypedStorage|collections OrderedDict)$"
)
_OBJECT_OPCODES = frozenset(
    {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "BUILD", "NEWOBJ", "NEWOBJ_EX"}
)
_MAX_DESCRIPTION_BYTES = 2**20
MAX_BYTES = 4 * 2**30
"""Size of a program's file; the largest network that a configuration allows has 3.3 GiB of weights."""


class ExportedGenerator(nn.Module):
    """A program from the registry, in evaluation mode for good and without gradients.

    Args:
        program: Maps latents float32 [batch, latent_dim], or latents and labels as
            :func:`~ganlib.registry.inference.joined` makes them one tensor, to pictures float32
            [batch, channels, height, width] in [−1, 1].
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        # The memory format in which convolutions on a CPU are fastest.
        self.program = program.to(memory_format=torch.channels_last)
        self.training = False

    @torch.no_grad()
    def forward(self, latents: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Pictures float32 [batch, channels, height, width] for latents, and labels if it takes any."""
        pictures: torch.Tensor = self.program(joined(latents, *labels))
        return pictures

    def train(self, mode: bool = True) -> ExportedGenerator:
        """Do nothing: a program was exported in evaluation mode and knows no other."""
        return self


def frozen_copy(publication: Publication) -> tuple[nn.Module, tuple[int, ...]]:
    """A copy of the generator as it will be exported, and the channels, height and width that it makes.

    Raises:
        RegistryError: It does not turn latents into pictures.
    """
    generator = for_inference(publication.generator)
    example = publication.example()
    try:
        made = generator(*example)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RegistryError(f"{publication.model}: the generator fails on latents: {error}") from error
    if made.ndim != 4 or made.shape[0] != len(example[0]):
        raise RegistryError(f"{publication.model}: the generator makes {list(made.shape)}, not pictures")
    return generator, tuple(made.shape[1:])


def write_program(generator: nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    """Export a generator for any batch size into a new file; its folder is made.

    Args:
        generator: From :func:`frozen_copy`.
        example: What it takes: latents, and maybe labels, two of each.
        path: Ends with ``.pt2``.
    """
    program, inputs = one_input(generator, example)
    exported = torch.export.export(program, (inputs,), dynamic_shapes=[{0: torch.export.Dim.AUTO}])
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(exported, path)


def refuse_pickles(folder: Path, what: str) -> None:
    """Look at all files of a version, and into its program, without running any.

    Args:
        folder: Where they lie, maybe from somebody who means us no good.
        what: What they are, for messages.

    Raises:
        RegistryError: One is a pickle or could hold one, the program is damaged or does more than compute
            tensors, or Python code comes along.
    """
    _checked_program(folder, what)


def read_program(folder: Path, what: str) -> ExportedGenerator:
    """The program among a version's files.

    Args:
        folder: Where the files lie, maybe from somebody who means us no good.
        what: What they are, for messages.

    Raises:
        RegistryError: It is no exported program, or as :func:`refuse_pickles`; none of it ran.
    """
    data = _checked_program(folder, what)
    if data is None:
        raise RegistryError(
            f"{what} is no exported program (pt2); anything else could hold a pickle and is refused"
        )
    with _damage_told(what), _loading:
        # Not torch.export.load: it tries another format, with another reader, where this one fails.
        exported = load_pt2(io.BytesIO(data)).exported_programs["model"]
        check_cost(exported, what)
        return ExportedGenerator(exported.module())


def _checked_program(folder: Path, what: str) -> bytes | None:
    """Check all files; return the program's bytes, or ``None`` if there is no program."""
    program = None
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == PROGRAM:
            if path.stat().st_size > MAX_BYTES:
                raise RegistryError(
                    f"{what} has {path.stat().st_size} bytes, more than {MAX_BYTES}, and is refused"
                )
            program = path.read_bytes()
            with _damage_told(what):
                _check_records(program, what)
            continue
        with path.open("rb") as file:
            head = file.read(4)
        # The first bytes of pickle protocols 2 to 5; the older two are text, which nothing here unpickles.
        if _PICKLE_NAMES.search(name) or re.match(rb"\x80[\x02-\x05]", head) or head == b"PK\x03\x04":
            raise RegistryError(f"{what} has a file {name!r}, a pickle or fit to hold one, and is refused")
        if name.endswith((".py", ".pyc", ".so")):
            raise RegistryError(f"{what} brings code along ({name!r}) and is refused")
    if _brings_code(folder / "MLmodel", what):
        raise RegistryError(f"{what} brings Python code along and is refused")
    return program


@contextmanager
def _damage_told(what: str) -> Iterator[None]:
    """Turn what torch's reader and loader raise over a damaged program into a ``RegistryError``."""
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:  # a damaged file makes the reader and the loader raise anything
        raise RegistryError(f"{what} cannot be loaded and is refused: {error}") from error


def _brings_code(described: Path, what: str) -> bool:
    if not described.is_file():
        return False
    size = described.stat().st_size
    if size > _MAX_DESCRIPTION_BYTES:
        raise RegistryError(
            f"{what} has an MLmodel of {size} bytes, more than {_MAX_DESCRIPTION_BYTES}, and is refused"
        )
    with _damage_told(f"the MLmodel of {what}"):
        flavors = (yaml.safe_load(described.read_text()) or {}).get("flavors", {})
        return any(flavor.get("code") for flavor in flavors.values())


def _check_records(data: bytes, what: str) -> None:
    """Refuse a program with records that are neither JSON nor plain tensors.

    Read with torch's own reader, which is the loader's, so that both see the same records.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    names = reader.get_all_records()
    # Before any is read: a compressed record can unpack to a thousand times its size.
    if sum(reader.get_record_size(name) for name in names) > len(data):
        raise RegistryError(f"{what} unpacks to more than its own size and is refused")
    known = {_MODEL, *_CONFIGS, _SAMPLE, *_TEXT_RECORDS}
    if len(set(names)) < len(names):
        raise RegistryError(f"{what} has two records of one name in its program and is refused")
    for name in names:
        if name not in known and not _PAYLOAD.fullmatch(name):
            raise RegistryError(f"{what} holds a pickle or code ({name!r} in its program) and is refused")
    check_description(json.loads(reader.get_record(_MODEL)), what)
    raw = _raw_payloads(reader, names)
    for name in names:
        pickled = name == _SAMPLE or (_PAYLOAD.fullmatch(name) and name not in raw)
        if pickled and not _only_tensors(reader.get_record(name)):
            raise RegistryError(f"{what} holds a pickle or code ({name!r} in its program) and is refused")


def _raw_payloads(reader: torch._C.PyTorchFileReader, names: Iterable[str]) -> set[str]:
    """Return the records that hold bare numbers, as the program's own lists say.

    Raises:
        ValueError: A record is listed twice, which would let it be read as bare numbers here and unpickled by
            torch; is none of the tensors; or has fewer bytes than its tensor has numbers.
    """
    raw: set[str] = set()
    listed: set[str] = set()
    for name in _CONFIGS.intersection(names):
        folder = name.rpartition("/")[0]
        for entry in json.loads(reader.get_record(name))["config"].values():
            record = f"{folder}/{entry['path_name']}"
            if record in listed or not _PAYLOAD.fullmatch(record):
                raise ValueError(f"{record!r} is listed twice or is no tensor")
            listed.add(record)
            if entry["use_pickle"] is False:
                numbers = math.prod(size["as_int"] for size in entry["tensor_meta"]["sizes"])
                if numbers > reader.get_record_size(record):
                    raise ValueError(f"{record} has fewer bytes than the {numbers} numbers of its tensor")
                raw.add(record)
    return raw


def _only_tensors(content: bytes) -> bool:
    """Whether ``torch.save`` wrote tensors and nothing else; nothing is unpickled to find out."""
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    except RuntimeError:  # it is no archive; a bare pickle, maybe
        return False
    pickles = [name for name in reader.get_all_records() if name.endswith(".pkl")]
    if pickles != ["data.pkl"]:
        return False
    for opcode, argument, _ in pickletools.genops(reader.get_record("data.pkl")):
        if opcode.name == "GLOBAL" and not _TENSOR_GLOBALS.match(str(argument)):
            return False
        if opcode.name in _OBJECT_OPCODES:
            return False
    return True
