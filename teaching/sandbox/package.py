"""The package that learners' code imports while it is graded: minivit without what is asked for."""

import ast
import shutil
from pathlib import Path

import minivit
from minivit.checks import QUESTIONS, calls
from minivit.checks.calls import pack

HERE = Path(__file__).resolve().parent


def learner_package(folder, withheld):
    """Writes the package that a learner's code imports while it is graded into `folder`.

    It is minivit without judges and without the bodies of `withheld`, "module.function" each; the
    visible cases are there as data. Raises ValueError for a function that is not there.
    """
    target = Path(folder) / "minivit"
    unwanted = shutil.ignore_patterns("__pycache__", "checks", "*.pyc")
    shutil.copytree(Path(minivit.__file__).parent, target, ignore=unwanted)
    (target / "checks").mkdir()
    shutil.copy(HERE / "no_checks.py", target / "checks" / "__init__.py")
    shutil.copy(calls.__file__, target / "checks")
    (target / "checks" / "examples").write_bytes(pack(_visible_cases()))
    for name in withheld:
        module, function = name.rsplit(".", 1)
        path = target / f"{module}.py"
        path.write_text(_without_body(path.read_text(encoding="utf-8"), function), encoding="utf-8")
    return target


def _visible_cases():
    """{question: {title: arguments}}, what `minivit.checks.examples` gives in a notebook."""
    return {
        question.id: {case.title: case.calls[0] for case in question.visible}
        for question in QUESTIONS.values()
    }


def _without_body(source, function):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            lines = source.splitlines()
            indent = " " * node.body[0].col_offset
            says = f'raise RuntimeError("{function} is not there while grading")'
            lines[node.body[0].lineno - 1 : node.end_lineno] = [indent + says]
            return "\n".join(lines) + "\n"
    raise ValueError(f"minivit has no function {function!r} to withhold")
