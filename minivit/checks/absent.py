"""What an answer uses of minivit that is not there while it is graded.

`check` runs a notebook's function beside the whole of minivit, grading beside minivit without the
functions that do what an exercise asks for. An answer that leans on one of these would pass here
and fail there; so `check` says it.
"""

import inspect
import sys
from functools import partial
from types import CodeType, FunctionType, ModuleType

PACKAGE = __name__.partition(".")[0]


def absent(function, withheld):
    """The names in `withheld` ("module.function" of minivit) that an answer would come to call.

    Followed are the notebook's own functions, and minivit's, in which one of them may be used.
    """
    while isinstance(function, partial):
        function = function.func
    return sorted(_found(inspect.unwrap(function), set(withheld), set()))


def _found(function, withheld, seen):
    code = getattr(function, "__code__", None)  # a class or a built-in function has none
    if code is None or code in seen:
        return set()
    seen.add(code)
    if _place(function) in withheld:
        return {_place(function)}
    found, names = set(), set(_names(code))
    for value in _values(function, names):
        if isinstance(value, FunctionType) and _is_followed(value, function):
            found |= _found(inspect.unwrap(value), withheld, seen)
    return found


def _names(code):
    """All names in a function's code, those of functions inside it too."""
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _values(function, names):
    """What the names stand for: globals, attributes of those, and what the function imports."""
    given = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        given[name] = _content(cell)
    modules = [v for v in given.values() if isinstance(v, ModuleType | type) and _is_ours(v)]
    if PACKAGE in {name.partition(".")[0] for name in names}:  # imported inside the function
        modules += [m for name, m in sys.modules.items() if name.partition(".")[0] == PACKAGE]
    for name in names:
        yield given.get(name)
        for module in modules:
            value = inspect.getattr_static(module, name, None)
            yield getattr(value, "__func__", value)  # of a class method, what it runs


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _is_ours(value):
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return name.partition(".")[0] == PACKAGE


def _is_followed(value, function):
    return _is_ours(value) or value.__module__ == function.__module__


def _place(function):
    """ "circuits.split_heads" for that function of minivit."""
    return f"{function.__module__}.{function.__qualname__}".removeprefix(f"{PACKAGE}.")
