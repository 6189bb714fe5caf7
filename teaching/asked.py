"""Which exercise is graded, and which of its questions."""

from teaching.exercises import SOLUTIONS
from teaching.keys import KEYS
from teaching.submissions import read


def exercise(name, folder=SOLUTIONS):
    """The solved notebook of that name; None: the only one. ValueError for any other."""
    notebooks = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if name is None and len(notebooks) == 1:
        return next(iter(notebooks.values()))
    if name not in notebooks:
        given = f"is {name!r}" if name else "is missing"
        raise ValueError(
            f"the exercise {given}; EXERCISE=… (--exercise …) must be one of {', '.join(notebooks)}"
        )
    return notebooks[name]


def questions_of(notebook, names=""):
    """The keys of the questions that an exercise notebook asks, in its order.

    names: those that are wanted, with commas between; all by default. ValueError for another one.
    """
    text = "\n".join(read("", notebook).cells)
    places = {text.find(f'check("{id}"'): id for id in KEYS}
    asked = [places[place] for place in sorted(places) if place >= 0]
    wanted = names.replace(",", " ").split() or asked
    if not set(wanted) <= set(asked):
        raise ValueError(f"QUESTIONS={names!r}, and {notebook.stem} asks {', '.join(asked)}")
    return [KEYS[id] for id in asked if id in wanted]
