"""Each solution in the real sandbox: unless it gets full marks there, no class can be graded."""

from pathlib import Path

import pytest

from teaching.exercises import SOLUTIONS
from teaching.grade import questions_of
from teaching.sandbox.box import LIMITS, Sandbox, require
from teaching.session import grade_one
from teaching.submissions import read

pytestmark = pytest.mark.integration

try:
    require()
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.mark.parametrize("solved", sorted(SOLUTIONS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_solution_gets_full_marks(solved: Path):
    keys = questions_of(solved)
    withheld = sorted({name for key in keys for name in key.question.withheld})
    with Sandbox(withheld) as box:
        record = grade_one(box, read("solution", solved), keys, b"s" * 32, LIMITS)
    assert record["points"] == record["of"] > 0, record["questions"]
