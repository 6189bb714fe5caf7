"""All keys, by the id of their question."""

from teaching.keys import diagonal_z, other_layout, qk_head

KEYS = {module.KEY.question.id: module.KEY for module in (other_layout, diagonal_z, qk_head)}
