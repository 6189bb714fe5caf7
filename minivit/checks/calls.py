"""One call of a learner's function: plain arguments in, plain arrays out.

A judge never sees what a learner's function returned, only numbers copied out of it: an object that
claims to equal everything is no array and counts as none. The same code runs in the notebook and in
the grader's sandbox, where it is the only part of `minivit.checks` that is there; so it imports
nothing of this package.
"""

import math
import struct
import traceback
from dataclasses import dataclass, field
from json import dumps, loads
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
import torch

MOST_BYTES = 16_000_000  # of one frame
MOST_NUMBERS = 1_500_000  # in one answer
DTYPES = ("float32", "float64", "bfloat16", "float16", "int64", "int32", "int16", "int8", "uint8")
DTYPES = (*DTYPES, "bool", "complex64", "complex128")  # the last two: no judge takes them
DEVICES = ("cpu", "cuda", "mps")


class Seed(NamedTuple):
    """An argument that becomes a fresh torch.Generator with this seed."""

    value: int


class Weight(NamedTuple):
    """An argument that becomes an nn.Parameter, as a layer holds it."""

    values: np.ndarray
    dtype: str = "float32"


class Array(NamedTuple):
    """A tensor that came back: its numbers (float64), and the names of its dtype and device."""

    values: np.ndarray
    dtype: str
    device: str


class Problem(NamedTuple):
    """Why a call has no answer. kind: "raised", "unwritten", "stopped", "missing"."""

    kind: str
    text: str
    line: str = ""


@dataclass(frozen=True)
class Result:
    """What one call left behind.

    returned: an Array for each tensor or number, None where something else came back (`what` names
    it). arguments: the tensors it was given, as they are now. generators: for each Seed argument,
    whether numbers were drawn from it. global_drawn: whether torch's global generator was used.
    """

    returned: tuple[Array, ...] | None = ()
    what: str = ""
    arguments: dict[str, Array] = field(default_factory=dict)
    generators: dict[str, bool] = field(default_factory=dict)
    global_drawn: bool = False
    problem: Problem | None = None


def call(function, arguments) -> Result:
    """Calls `function` with a case's arguments by keyword; what it raises is in the Result."""
    given = {name: live(value) for name, value in arguments.items()}
    states = {name: g.get_state() for name, g in given.items() if isinstance(g, torch.Generator)}
    before = torch.get_rng_state()
    try:
        answer = function(**given)
    except (Exception, SystemExit) as error:
        if _is_stub(error):
            return Result(problem=Problem("unwritten", ""))
        return Result(problem=_problem(error, given))
    try:
        returned, what = _plain(answer), _name(answer)
        tensors = {name: each for name, each in given.items() if isinstance(each, torch.Tensor)}
        return Result(
            returned=returned,
            what=what,
            arguments={name: _array(each) for name, each in tensors.items()},
            generators={
                name: not torch.equal(state, given[name].get_state())
                for name, state in states.items()
            },
            global_drawn=not torch.equal(before, torch.get_rng_state()),
        )
    except Exception as error:
        return Result(problem=_problem(error))


def _is_stub(error):
    """Whether it is the stub's own bare line: torch raises NotImplementedError too, with words."""
    return type(error) is NotImplementedError and not error.args


def live(value):
    """The value that a learner's function gets: tensors for arrays, generators for seeds."""
    if isinstance(value, Seed):
        return torch.Generator().manual_seed(value.value)
    if isinstance(value, Weight):
        tensor = torch.tensor(value.values, dtype=getattr(torch, value.dtype))
        return torch.nn.Parameter(tensor)
    if isinstance(value, np.ndarray):
        return torch.tensor(value, dtype=torch.float32)
    return value


def _plain(answer):
    """Arrays of a tensor, a number, None, or a tuple or list of them; None for anything else."""
    if answer is None:
        return ()
    items = list(answer) if isinstance(answer, tuple | list) else [answer]
    if all(isinstance(each, torch.Tensor | np.ndarray | np.number | int | float) for each in items):
        return tuple(_array(each) for each in items)
    return None


def _name(answer):
    """Its type, and what it holds where that is a few things."""
    name = type(answer).__name__
    if not isinstance(answer, tuple | list) or len(answer) > 5:
        return name
    return f"{name} of {', '.join(type(each).__name__ for each in answer) or 'nothing'}"


def _array(item):
    if isinstance(item, np.ndarray) and item.size <= MOST_NUMBERS:
        item = item.copy()  # torch reads no array backwards (a[::-1]), and warns of locked ones
    tensor = item.detach() if isinstance(item, torch.Tensor) else torch.as_tensor(item)
    if tensor.numel() > MOST_NUMBERS:
        raise ValueError(f"{tensor.numel():,} numbers came back; at most {MOST_NUMBERS:,} may")
    dtype, device = str(tensor.dtype).removeprefix("torch."), tensor.device.type
    tensor = tensor.real if tensor.is_complex() else tensor
    return Array(tensor.cpu().to(torch.float64).numpy(force=True).copy(), dtype, device)


def _problem(error, given=()):
    """The error in words, with the line of the learner's own code that it came from.

    Where there is no such line, the call itself failed: it has other names for what it is given.
    """
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [frame for frame in frames if not _is_of_others(frame.filename)]
    text = f"{type(error).__name__}: {cut(str(error))}"
    if "a leaf Variable that requires grad" in text:
        text += " A Parameter is changed inside `with torch.no_grad():`"
    if given and not frames and isinstance(error, TypeError):
        text += f". It is called by name, with {', '.join(given)}: keep the names of the arguments"
    return Problem("raised", text, (own[-1].line or "") if own else "")


def cut(text):
    """At most 300 characters of what a learner's code says."""
    return text if len(text) <= 300 else f"{text[:299]}…"


def _is_of_others(file):
    """Of a library, or of this file: an answer that can't be read stands in no line of its own."""
    path = PurePath(file)
    return "site-packages" in path.parts or path.parent.name == "minivit" or file == __file__


def belongs(result, arguments) -> bool:
    """Whether a Result is one of a call with these arguments: their tensors, and their generators.

    A judge looks both up by name; a Result from a learner's process may have any names, or none.
    """
    if result.problem is not None:
        return True
    tensors = {name for name, value in arguments.items() if isinstance(value, np.ndarray | Weight)}
    seeds = {name for name, value in arguments.items() if isinstance(value, Seed)}
    return result.arguments.keys() == tensors and result.generators.keys() == seeds


# Between grader and sandbox: one JSON header and the bytes of the arrays. Nothing in a frame can be
# executed, and whatever is wrong with one is a ValueError.


def pack(value) -> bytes:
    """Bytes of nested dicts, lists, strings, numbers, None, arrays and this module's tuples."""
    blobs = []
    header = dumps(_flatten(value, blobs)).encode()
    return b"".join([struct.pack("<I", len(header)), header, *blobs])


def _flatten(value, blobs):
    if isinstance(value, np.ndarray):
        values = np.asarray(value, dtype="<f8", order="C")  # ascontiguousarray makes () into (1,)
        blobs.append(values.tobytes())
        return {"array": list(values.shape)}
    if isinstance(value, Seed | Weight | Array | Problem):
        return {"tuple": type(value).__name__, "of": [_flatten(each, blobs) for each in value]}
    if isinstance(value, Result):
        return {"result": _flatten(vars(value), blobs)}
    if isinstance(value, dict):
        return {"dict": [[str(key), _flatten(each, blobs)] for key, each in value.items()]}
    if isinstance(value, tuple | list):
        return [_flatten(each, blobs) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a {type(value).__name__} can't be sent")


def unpack(data: bytes):
    """What `pack` was given, lists as tuples. ValueError for all that `pack` does not write."""
    try:
        (length,) = struct.unpack_from("<I", data)
        tree = loads(data[4 : 4 + length].decode())
        value, end = _build(tree, data, 4 + length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise ValueError(f"not a frame: {error}") from error
    if end != len(data):
        raise ValueError("not a frame: bytes are left over")
    return value


def _build(tree, data, at):
    if isinstance(tree, list):
        items = []
        for each in tree:
            item, at = _build(each, data, at)
            items.append(item)
        return tuple(items), at
    if not isinstance(tree, dict):
        return tree, at
    if "array" in tree:
        return _read_array(tree["array"], data, at)
    if "dict" in tree:
        items, at = _build([each for _, each in tree["dict"]], data, at)
        return dict(zip([str(key) for key, _ in tree["dict"]], items, strict=True)), at
    if "result" in tree:
        fields, at = _build(tree["result"], data, at)
        return _result(fields), at
    kind = {"Seed": Seed, "Weight": Weight, "Array": Array, "Problem": Problem}[tree["tuple"]]
    items, at = _build(tree["of"], data, at)
    return kind(*items), at


def _read_array(shape, data, at):
    if not all(type(size) is int and 0 <= size <= MOST_NUMBERS for size in shape):
        raise ValueError(f"shape {shape}")
    count = math.prod(shape)
    if len(shape) > 16 or 8 * count > len(data) - at:
        raise ValueError(f"shape {shape} for {len(data) - at} bytes")
    values = np.frombuffer(data, "<f8", count, at).reshape(shape).astype(np.float64)
    return values, at + 8 * count


def _result(fields):
    """A Result whose every field has the type that a judge counts on: the sender may be anybody."""
    result = Result(**fields)
    arrays = [*(result.returned or ()), *result.arguments.values()]
    problem = result.problem
    honest = (
        isinstance(result.returned, tuple | None)
        and all(isinstance(each, Array) for each in arrays)
        and all(isinstance(each.values, np.ndarray) for each in arrays)
        and all(each.dtype in DTYPES and each.device in DEVICES for each in arrays)
        and isinstance(result.what, str)
        and all(isinstance(each, bool) for each in result.generators.values())
        and isinstance(result.global_drawn, bool)
        and isinstance(problem, Problem | None)
        and (problem is None or all(isinstance(each, str) for each in problem))
    )
    if not honest:
        raise ValueError("a field of another type")
    return result
