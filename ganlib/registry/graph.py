"""Checks of a fetched program's calls, before torch loads it and before it is run for the first time.

A program of torch.export is a list of calls (nodes), each with the name of an operator. torch resolves any
name, and some operators of ``aten`` write files, so :data:`OPERATORS` lists those that ganlib's own networks
are exported with, in their overloads; every other one is refused by its name. Control flow and other
operators that take a graph are not on the list, so there are no loops, and a nested graph is checked anyway.

What the listed operators may cost is found with tensors that have a shape and no memory
(:func:`check_cost`), so a program that would need too much memory or time is refused before its first call.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ganlib.errors import RegistryError

OPERATORS = frozenset(
    f"torch.ops.aten.{name}"
    for name in (
        "_assert_tensor_metadata.default",
        "add.Tensor",
        "batch_norm.default",
        "cat.default",
        "col2im.default",
        "conv2d.default",
        "conv_transpose2d.input",
        "embedding.default",
        "flatten.using_ints",
        "group_norm.default",
        "leaky_relu_.default",
        "linear.default",
        "matmul.default",
        "numpy_T.default",
        "relu.default",
        "relu_.default",
        "select.int",
        "slice.Tensor",
        "tanh.default",
        "to.dtype",
        "unflatten.int",
        "unsqueeze.default",
        "upsample_nearest2d.vec",
    )
)
"""The operators that the networks of :mod:`ganlib.core` are exported with."""

ARGUMENTS = frozenset(
    {
        "as_bool",
        "as_device",
        "as_float",
        "as_floats",
        "as_int",
        "as_ints",
        "as_layout",
        "as_none",
        "as_scalar_type",
        "as_tensor",
        "as_tensors",
    }
)
"""Kinds of arguments that those operators take; no strings, graphs, operators or Python objects."""

MAX_NODES = 1_000
"""Calls in a program; the deepest network that a configuration allows makes 81."""
MAX_ELEMENTS = 2**25
"""Numbers in a tensor that a call makes for one picture: 128 MiB. The widest network makes just as many."""
MAX_ELEMENTS_IN_ALL = 2**29
"""Numbers that all calls together make for one picture."""
MAX_FLOPS = 2**41
"""Floating-point operations for one picture; the widest network, residual at 256×256, takes half of it."""
MAX_SIDE = 4096
"""Pixels of a picture's side."""

_LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
_OUTPUT_TREE = [1, _LEAF]
_INPUT_TREE = [
    1,
    {
        "type": "builtins.tuple",
        "context": "null",
        "children_spec": [
            {"type": "builtins.tuple", "context": "null", "children_spec": [_LEAF]},
            {"type": "builtins.dict", "context": "[]", "children_spec": []},
        ],
    },
]
"""The nesting of a program's inputs and outputs: one tensor each. torch imports the types that it names."""

_BATCH, _LARGE_BATCH = 2, 512
_EXPRESSION = re.compile(r"[\w\s\[\](),.=<>!+\-*/%]{0,300}")
_EXPRESSION_WORDS = re.compile(
    r"Symbol|Integer|Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not"
    r"|positive|negative|nonnegative|integer|real|True|False|L|size|stride|and|or|not|[suz]\d+"
)


def check_description(described: object, what: str) -> None:
    """Refuse a program's JSON that names anything but the allowed operators, at any depth of nested graphs.

    Args:
        described: A JSON document of the archive.
        what: The program's name, for messages.

    Raises:
        RegistryError: It calls an operator that is not allowed, hands one an argument of another kind, has
            too many calls, brings Python types or objects along, or evaluates what is no arithmetic: torch
            evaluates sizes and guards as Python.
    """
    calls = 0
    for part in _dictionaries(described):
        if "target" in part and "inputs" in part:
            calls += 1
            _check_call(part, what)
        for name, tree in (("in_spec", _INPUT_TREE), ("out_spec", _OUTPUT_TREE)):
            if name in part and json.loads(part[name]) != tree:
                raise RegistryError(f"{what} takes or makes other objects than one tensor ({name}); refused")
        for name in ("custom_obj_values", "treespec_namedtuple_fields"):
            if part.get(name):
                raise RegistryError(f"{what} brings Python objects along ({name}) and is refused")
        for text in (part.get("expr_str", ""), *(part.get("guards_code") or ())):
            if not _is_arithmetic(text):
                raise RegistryError(f"{what} evaluates {str(text)[:200]!r}, no arithmetic, and is refused")
    if calls > MAX_NODES:
        raise RegistryError(f"{what} makes {calls} calls, more than {MAX_NODES}, and is refused")


def _dictionaries(described: object) -> Iterator[dict[str, Any]]:
    """Every dictionary in a JSON document; without recursion, whose depth somebody else would decide."""
    waiting = [described]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_call(node: dict[str, Any], what: str) -> None:
    target = node["target"]
    if target not in OPERATORS:
        raise RegistryError(f"{what} calls {str(target)[:200]!r}, which no generator uses, and is refused")
    for argument in node["inputs"]:
        kinds = set(argument["arg"]) - ARGUMENTS
        if kinds:
            raise RegistryError(f"{what} calls {target} with {sorted(kinds)[0]!r}, and is refused")
        device = argument["arg"].get("as_device", {"type": "cpu"})
        if device["type"] != "cpu":
            raise RegistryError(f"{what} calls {target} on {device['type']!r}, not the CPU, and is refused")


def _is_arithmetic(expression: object) -> bool:
    """Whether an expression is arithmetic over sizes, as in ``L['labels'].size()[0] == Symbol('s1')``.

    Powers are not: a short one takes for ever to evaluate.
    """
    if not isinstance(expression, str) or not _EXPRESSION.fullmatch(bare := re.sub(r"'\w*'", "", expression)):
        return False
    words, numbers = re.findall(r"[^\W\d]\w*", bare), re.findall(r"\d+", bare)
    return (
        "**" not in bare
        and all(_EXPRESSION_WORDS.fullmatch(word) for word in words)
        and all(len(number) <= 20 for number in numbers)
    )


class _Costs(fx.Interpreter):  # type: ignore[misc]  # torch.fx is not read by mypy
    """Runs a program on tensors without memory, and refuses what a call would make too large.

    Args:
        program: The program.
        batch: Latents that it is run with.
        what: The program's name, for messages.
    """

    def __init__(self, program: fx.GraphModule, batch: int, what: str) -> None:
        super().__init__(program)
        self._batch, self._what = batch, what
        self._total = 0

    def run_node(self, n: fx.Node) -> Any:
        """Run one call, and measure its result."""
        result = super().run_node(n)
        if n.op == "call_function":
            for tensor in result if isinstance(result, (list, tuple)) else [result]:
                if isinstance(tensor, Tensor):
                    self._add(n, math.ceil(tensor.numel() / self._batch))
        return result

    def _add(self, node: fx.Node, elements: int) -> None:
        self._total += elements
        for many, limit in ((elements, MAX_ELEMENTS), (self._total, MAX_ELEMENTS_IN_ALL)):
            if many > limit:
                raise RegistryError(
                    f"{self._what} needs {many} numbers for a picture at {node.target}, more than {limit}, "
                    "and is refused"
                )


def check_cost(exported: torch.export.ExportedProgram, what: str) -> None:
    """Refuse a program that takes too much memory or time, or that does not make pictures of latents.

    Nothing is computed: every call is made with tensors that have a shape and no memory.

    Args:
        exported: A program whose description has passed :func:`check_description`.
        what: The program's name, for messages.

    Raises:
        RegistryError: It has no weights, takes other inputs than one float32 [batch, n], makes something
            else than float32 [batch, channels, height, width], or costs more than the limits above.
    """
    signature = exported.graph_signature
    if not exported.state_dict:
        raise RegistryError(f"{what} has no weights, so it is no trained generator, and is refused")
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
        raise RegistryError(f"{what} does not turn one tensor into one tensor, and is refused")
    # Limits for a picture say little of what grows faster than the batch, as latents beside themselves do.
    for batch in (_BATCH, _LARGE_BATCH):
        _check_batch(exported, batch, what)


def _check_batch(exported: torch.export.ExportedProgram, batch: int, what: str) -> None:
    weights = {**exported.state_dict, **exported.constants}
    mode = FakeTensorMode()
    with mode, FlopCounterMode(display=False) as counted:
        arguments = [
            mode.from_tensor(weights[spec.target])
            if spec.target in weights
            else _latents(exported, batch, what)
            for spec in exported.graph_signature.input_specs
        ]
        made = _Costs(exported.graph_module, batch, what).run(*arguments)[0]
    flops = counted.get_total_flops() // batch
    if flops > MAX_FLOPS:
        raise RegistryError(f"{what} takes {flops:.1e} operations a picture, more than {MAX_FLOPS:.1e}")
    shape = list(made.shape)
    pictures = len(shape) == 4 and shape[0] == batch and shape[1] in (1, 3) and max(shape[2:]) <= MAX_SIDE
    if not pictures or made.dtype is not torch.float32:
        raise RegistryError(f"{what} makes {made.dtype} {shape} of {batch} latents, no pictures; refused")


def _latents(exported: torch.export.ExportedProgram, batch: int, what: str) -> Tensor:
    name = exported.graph_signature.user_inputs[0]
    [node] = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name == name]
    declared = node.meta["val"]
    if declared.ndim != 2 or declared.dtype is not torch.float32:
        raise RegistryError(
            f"{what} takes {declared.dtype} of {declared.ndim} dimensions, no latents; refused"
        )
    return torch.empty(batch, int(declared.shape[1]))
