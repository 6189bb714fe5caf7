"""What an answer uses of minivit that is not there while it is graded.

`check` runs a notebook's function beside the whole of minivit, grading beside minivit without the
functions that do what an exercise asks for. An answer that leans on one of these would pass here
and fail there; so `check` says it.
"""

import dis
import inspect
import sys
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, ModuleType

THERE = ("check", "examples")  # of minivit.checks, while grading
PACKAGE = __name__.partition(".")[0]


def absent(function, withheld):
    """The names in `withheld` ("module.function" of minivit) that an answer would come to call.

    And "checks", where it uses a part of the judges: only `check` and `examples` are there.

    Followed are the notebook's own functions, and minivit's, in which one of them may be used.
    """
    while isinstance(function, partial):
        function = function.func
    try:
        return sorted(_found(inspect.unwrap(function), set(withheld), set()))
    except ValueError:  # of inspect.unwrap: an object that claims to have every attribute
        return []


def _found(function, withheld, seen):
    code = getattr(function, "__code__", None)  # a class or a built-in function has none
    if code is None or code in seen:
        return set()
    seen.add(code)
    if _place(function) in withheld:
        return {_place(function)}
    given, found = _given(function), set()
    for value in _values(code, given):
        if _is_a_judges(value):
            found.add("checks")
        elif isinstance(value, FunctionType) and _is_followed(value, function):
            found |= _found(inspect.unwrap(value), withheld, seen)
    return found


def _given(function):
    """What a function's names stand for that are not its own: globals, and those around it."""
    given = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not set yet
            given[name] = cell.cell_contents
    return given


def _values(code, given):
    """What code loads, as far as it can be told: names, imports, and attributes of what is ours."""
    here, top, local = None, None, {}
    for step in dis.get_instructions(code):
        kind, name = step.opname, step.argval
        if kind in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
            here = given.get(name)
            yield here
        elif kind.startswith("LOAD_FAST"):
            here = local.get(name) if isinstance(name, str) else None
        elif kind == "IMPORT_NAME":
            here = sys.modules.get(name)
            yield here
            top = sys.modules.get(name.partition(".")[0])  # what `import a.b` binds
        elif kind in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            value = inspect.getattr_static(here, name, None) if _is_place(here) else None
            value = getattr(value, "__func__", value)  # of a class method, what it runs
            if kind == "IMPORT_FROM" and value is None and _is_place(here):
                value = here  # `import a.b as c` has gone to a.b at once, and now asks for its b
            yield value
            here, top = (value, top) if kind != "IMPORT_FROM" else (here, value)
        elif kind == "STORE_FAST" and _is_place(here):
            local[name], top = top or here, None
        elif kind not in ("PUSH_NULL", "CACHE", "EXTENDED_ARG", "SWAP", "POP_TOP"):
            here = None
    for constant in code.co_consts:  # functions inside it
        if isinstance(constant, CodeType):
            yield from _values(constant, {**given, **local})


def _is_place(value):
    """Whether it is a module or a class of minivit."""
    return isinstance(value, ModuleType | type) and _is_ours(value)


def _is_ours(value):
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return (name or "").partition(".")[0] == PACKAGE


def _is_a_judges(value):
    """Whether it is a part of minivit.checks, but `check` and `examples`, or made of one."""
    if isinstance(value, ModuleType):
        return value.__name__.startswith(f"{PACKAGE}.checks.")
    kind = value if isinstance(value, FunctionType | type) else type(value)
    place = f"{kind.__module__}."
    return place.startswith(f"{PACKAGE}.checks.") and kind.__qualname__ not in THERE


def _is_followed(value, function):
    if value.__module__ == f"{PACKAGE}.checks":  # another stands for it while grading
        return False
    return _is_ours(value) or value.__module__ == function.__module__


def _place(function):
    """ "circuits.split_heads" for that function of minivit."""
    return f"{function.__module__}.{function.__qualname__}".removeprefix(f"{PACKAGE}.")
