"""Tensors of a legacy PyTorch file (`torch.save` before 1.6), read without torch and without unpickling.

`pickletools.genops` names a pickle's instructions and runs none. Those that a state dict of float tensors is written
with are followed here, on a stack of plain values; a file with any other is refused.

A legacy file is five pickles (magic number, version, system, state dict, keys of storages) and then each storage: its
length as int64 and its numbers. Source: `torch/serialization.py`, `_legacy_save`.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
STORAGES: Mapping[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
DICT, REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"

CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True, "EMPTY_TUPLE": ()}
LITERALS = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"}


@dataclass(frozen=True)
class _Name:
    """A global that a pickle names. It is never imported."""

    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where a tuple, list or dict under construction starts."""


def read_state_dict(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors by name, each as it is shaped in PyTorch.

    Raises:
        ValueError: it is no legacy PyTorch file of float tensors, or is cut short.
    """
    file = BytesIO(content)
    try:
        magic, version, _, tensors, keys = [_follow(file) for _ in range(5)]
        if magic != MAGIC or version != VERSION:
            raise ValueError("its magic number or version differs")
        storages = _storages(file, tensors, keys)
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"The weights are no legacy PyTorch file of plain tensors: {error}") from None


def _follow(file: BytesIO) -> Any:
    """The value that one pickle stands for."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            return stack.pop()
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif opcode.name in CONSTANTS:
            stack.append(CONSTANTS[opcode.name])
        elif opcode.name in LITERALS:
            stack.append(argument)
        else:
            _instruction(opcode.name)(stack, argument)
    raise ValueError("a pickle without an end")


def _instruction(name: str) -> Callable[[list[Any], Any], None]:
    if name not in INSTRUCTIONS:
        raise ValueError(f"the pickle instruction {name} is refused")
    return INSTRUCTIONS[name]


def _global(stack: list[Any], argument: str) -> None:
    if argument not in (DICT, REBUILD, *STORAGES):
        raise ValueError(f"the name {argument!r} is refused")
    stack.append(_Name(argument))


def _persistent(stack: list[Any], _: Any) -> None:
    """`('storage', type, key, device, size, view)` stands for a storage."""
    kind, dtype, key, _, size, view = stack.pop()
    if kind != "storage" or view is not None:
        raise ValueError("a storage that is a view is refused")
    stack.append(_Storage(STORAGES[dtype.name], key, size))


def _reduce(stack: list[Any], _: Any) -> None:
    """A call: of `OrderedDict()`, or of `_rebuild_tensor_v2(storage, offset, shape, strides, ...)`."""
    arguments, called = stack.pop(), stack.pop()
    if called == _Name(DICT) and arguments == ():
        stack.append({})
    elif called == _Name(REBUILD):
        stack.append(_Tensor(*arguments[:4]))
    else:
        raise ValueError(f"the call of {called} is refused")


def _since_mark(stack: list[Any]) -> list[Any]:
    values = []
    while not isinstance(value := stack.pop(), _Mark):
        values.append(value)
    return values[::-1]


def _set_items(stack: list[Any], _: Any) -> None:
    values = _since_mark(stack)
    stack[-1].update(zip(values[::2], values[1::2], strict=True))


def _set_item(stack: list[Any], _: Any) -> None:
    value, key = stack.pop(), stack.pop()
    stack[-1].update({key: value})


def _forget_state(stack: list[Any], _: Any) -> None:
    """Attributes of the dict just made: the versions of its layers, of no use here."""
    stack.pop()


def _append(stack: list[Any], _: Any) -> None:
    values = _since_mark(stack)
    stack[-1].extend(values)


def _tuple_of(count: int) -> Callable[[list[Any], Any], None]:
    def build(stack: list[Any], _: Any) -> None:
        values = tuple(stack[-count:])
        del stack[-count:]
        stack.append(values)

    return build


INSTRUCTIONS: Mapping[str, Callable[[list[Any], Any], None]] = {
    "PROTO": lambda stack, _: None,
    "MARK": lambda stack, _: stack.append(_Mark()),
    "EMPTY_DICT": lambda stack, _: stack.append({}),
    "EMPTY_LIST": lambda stack, _: stack.append([]),
    "TUPLE": lambda stack, _: stack.append(tuple(_since_mark(stack))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "APPENDS": _append,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
    "BUILD": _forget_state,
}


def _storages(file: BytesIO, tensors: Mapping[str, Any], keys: list[str]) -> dict[str, NDArray[Any]]:
    """The storages in the order of `keys`: how many numbers, then the numbers."""
    declared = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    found = {}
    for key in keys:
        storage = declared[key]
        count = int.from_bytes(file.read(8), "little")
        content = file.read(storage.size * storage.dtype.itemsize)
        if count != storage.size or len(content) != storage.size * storage.dtype.itemsize:
            raise ValueError(f"storage {key} is cut short")
        found[key] = np.frombuffer(content, storage.dtype)
    return found


def _array(tensor: _Tensor, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """A tensor out of its storage. Strides count: weights that came from TensorFlow lie there in its order."""
    numbers = storages[tensor.storage.key]
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or tensor.offset + reach >= len(numbers):
        raise ValueError(f"a tensor of {tensor.shape} reaches out of its storage")
    steps = tuple(stride * numbers.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps, writeable=False).copy()
