"""teaching/attacks.md: every attack that it names has a test, and every such test is in it."""

import ast
import re
from pathlib import Path

from attacks import ATTACKS

HERE = Path(__file__).parent
TABLE = (HERE.parent / "teaching" / "attacks.md").read_text(encoding="utf-8")
LINES = [line for line in TABLE.splitlines() if line.startswith("| ")][2:]

# Issue 5, "Attacks that must gain nothing", in its words.
WANTED = """endless loop in a cell; endless loop in a function; `os._exit`; fork bomb; memory bomb;
10 GB of output; deleting or changing cells; editing points; always-equal objects;
patched torch functions; patched classes of the grader; AST transformers;
importing the answer from `minivit`; remembering answers between calls; reading keys from disk;
other processes' memory; `/proc`; raising the input as an exception text; opening a socket;
printing a score; writing results files; leaving a background process; not JSON; of 200 MB;
missing"""


def functions(name):
    tree = ast.parse((HERE / name).read_text(encoding="utf-8"))
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


def test_every_attack_has_a_line_with_a_test():
    attacks = [line.split(" | ")[0] for line in LINES]
    for words in re.split(r";\s+", WANTED):
        assert any(words in attack for attack in attacks), words
    assert all(re.search(r'"|::', line.split(" | ")[2]) for line in LINES)


def test_every_test_of_the_table_exists():
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", TABLE)
    assert named and all(test in functions(name) for name, test in named)
    assert all(name in ATTACKS for name in re.findall(r'▪ "([^"]+)"', TABLE))


def test_every_attack_that_is_tested_is_in_the_table():
    for name in ATTACKS:
        assert f'"{name}"' in TABLE, name
    for name in ("test_grade_attacks.py", "test_grade_neighbours.py"):
        tests = {each for each in functions(name) if each.startswith("test_")}
        general = {"test_attack_gains_nothing", "test_users_fit_into_the_container"}
        assert all(f"{name}::{each}" in TABLE for each in tests - general)
