"""Strategies for hypothesis: files that are nearly whole, and JSON with odd values in it."""

import copy
import json
import tempfile
from pathlib import Path

import torch
from hypothesis import strategies as st

from minivit.storage import DIGEST_KEY, read_safetensors, write_tensors


def damaged(whole):
    """Bytes of any kind, and `whole` with up to four changes."""
    places = st.integers(0, len(whole))
    change = st.tuples(st.sampled_from(("set", "drop", "twice", "cut")), places, st.binary())
    return st.binary(max_size=400) | st.lists(change, max_size=4).map(
        lambda changes: _changed(whole, changes)
    )


def _changed(data, changes):
    for kind, place, new in changes:
        end = place + max(1, len(new))
        if kind == "set":
            data = data[:place] + new + data[end:]
        elif kind == "drop":
            data = data[:place] + data[end:]
        elif kind == "twice":
            data = data[:end] + data[place:]
        else:
            data = data[:place]
    return data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
# What a limit could be forgotten for.
ODD = JSON | st.sampled_from([10**9, 10**30, -1, 0, 1e308, float("nan"), [[]], {"": {}}])


def odd_values(value):
    """A strategy of JSON values like `value`, with up to two of its parts replaced."""
    places = list(_places(value))
    change = st.tuples(st.sampled_from(places), ODD)
    return st.lists(change, max_size=2).map(lambda changes: _replaced(value, changes))


def _places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, key))


def _replaced(value, changes):
    value = copy.deepcopy(value)
    for path, new in changes:
        new = copy.deepcopy(new)  # or it might be put into itself
        if not path:
            return new
        inner = value
        try:
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = new
        except (KeyError, IndexError, TypeError):  # the change before took that place away
            continue
    return value


def odd_json(whole):
    """JSON text with damaged bytes, with odd values, or nested deeper than Python can follow."""
    deep = st.integers(1, 200_000).map(lambda n: b"[" * n + b"]" * n)
    texts = odd_values(json.loads(whole)).map(lambda value: json.dumps(value).encode())
    return damaged(whole) | texts | deep


def odd_contents(whole):
    """A safetensors file of minivit's with damaged bytes, or odd contents and a right digest."""
    tensors, notes = as_file(whole, read_safetensors)
    notes = {name: json.loads(note) for name, note in notes.items() if name != DIGEST_KEY}

    def signed(metadata=notes, tensors=tensors):
        return as_bytes(lambda path: write_tensors(path, tensors, metadata))

    change = st.tuples(st.sampled_from(sorted(tensors)), st.sampled_from(sorted(ODD_TENSORS)))
    return (
        damaged(whole)
        | odd_values(notes).filter(lambda v: isinstance(v, dict)).map(signed)
        | st.lists(change, min_size=1, max_size=2).map(
            lambda changes: signed(tensors=_other_tensors(tensors, changes))
        )
    )


# What may stand in place of a tensor.
ODD_TENSORS = {
    "none": lambda tensor: None,
    "empty": lambda tensor: tensor.flatten()[:0],
    "one number": lambda tensor: tensor.flatten()[:1],
    "flat": torch.flatten,
    "turned": lambda tensor: tensor.movedim(0, -1) if tensor.ndim else tensor[None],
    "twice as long": lambda tensor: torch.cat([torch.atleast_1d(tensor)] * 2),
    "whole numbers": torch.Tensor.long,
    "half as exact": torch.Tensor.half,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "not a number": lambda tensor: tensor * float("nan"),
}


def _other_tensors(tensors, changes):
    found = dict(tensors)
    for name, kind in changes:
        found[name] = ODD_TENSORS[kind](tensors[name])
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def as_bytes(write):
    """The bytes of the file that write(path) makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def as_file(data, read):
    """What read(path) makes of a file with these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        return read(path)
