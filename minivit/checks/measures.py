"""What every judge asks first: did the right arrays come back, are they near, what else changed."""

import numpy as np

from minivit.checks.question import Finding

DTYPES = {"float": "float32 or float64", "int": "int64", "bool": "bool"}  # as a message has them


def returned(results, count, shapes, names, dtypes=()):
    """A Finding where not exactly `count` arrays of these shapes, all finite, came back.

    dtypes: "float", "int" or "bool" for each; floats by default.
    """
    dtypes = dtypes or ("float",) * count
    for result in results:
        arrays = result.returned
        if arrays == ():
            return Finding("nothing", "it returned nothing; is there a return?")
        if arrays is None or len(arrays) != count:
            wanted = f"{_kinds(count, shapes)}: {', '.join(names)}"
            return Finding("kind", f"it returned {_got(result)}; expected {wanted}")
        for array, shape, name, dtype in zip(arrays, shapes, names, dtypes, strict=True):
            if array.values.shape != shape:
                return Finding("shape", f"{name} has shape {array.values.shape}; expected {shape}")
            if not array.dtype.startswith(dtype) and shape:  # a number may be a whole one
                text = f"{name} is {array.dtype}; expected {DTYPES[dtype]}"
                real = "; take its real part, .real" if array.dtype.startswith("complex") else ""
                return Finding("dtype", text + real)
            if not np.isfinite(array.values).all():
                bad = int((~np.isfinite(array.values)).sum())
                return Finding("finite", f"{name}: {bad} of {array.values.size} are not finite")
    return None


def _kinds(count, shapes):
    """What is to come back, in words; a number has the shape ()."""
    kinds = ["number" for shape in shapes if shape == ()] + ["tensor" for shape in shapes if shape]
    kind = " or ".join(dict.fromkeys(kinds))
    return f"one {kind}" if count == 1 else f"{count} {kind.replace(' or ', 's and ')}s"


def _got(result):
    """What came back instead, in words."""
    arrays = result.returned
    if arrays is None:
        return f"a {result.what}"
    if len(arrays) > 1:
        return f"{len(arrays)} tensors or numbers"
    shape = arrays[0].values.shape
    return f"one tensor of shape {shape}" if shape else "one number"


def untouched(arguments, result):
    """A Finding where a tensor that was given is no longer what it was."""
    for name, after in result.arguments.items():
        before = getattr(arguments[name], "values", arguments[name])
        if not close(after.values, before, 1e-6):
            text = f"{name} was changed by the call; work on a copy, {name}.clone()"
            return Finding("untouched", text)
    return None


def drawn(result):
    """A Finding where randomness came from elsewhere than the argument `generator`."""
    if result.global_drawn:
        return Finding("generator", "numbers were drawn from torch's global generator")
    if not result.generators["generator"]:
        return Finding("generator", "nothing was drawn from `generator`")
    return None


def close(mine, target, tolerance, floor=1e-12):
    """Whether two arrays of one shape agree, relative to the target's largest entry or `floor`."""
    return mine.shape == target.shape and bool(
        np.abs(mine - target).max(initial=0)
        <= tolerance * max(np.abs(target).max(initial=0), floor)
    )
