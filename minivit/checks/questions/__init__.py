"""All graded questions, by id."""

from minivit.checks.questions import diagonal_z, other_layout, qk_head

QUESTIONS = {module.QUESTION.id: module.QUESTION for module in (other_layout, diagonal_z, qk_head)}
