"""For instructors: keys, graders and their tests. Never part of the wheel."""
