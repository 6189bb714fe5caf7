"""One lecture of 90 minutes: the slides that teaching/guide.md lists, out of the three decks.

`make slides` writes it beside the decks. The list stands in the guide alone, between two marks.
"""

import re
from typing import NamedTuple

from teaching.exercises import ROOT

GUIDE = ROOT / "teaching" / "guide.md"
MARKS = "<!-- lecture -->", "<!-- /lecture -->"
ROW = re.compile(r"\| (\d)-(\d+) \| (.+?) \| (\d+) \| (leave out)? ?\|")
OPENING = """# A start that looks trained

One lecture: mimetic initialization of self-attention, and what controls leave of its gain.

**Algebra**, **measured here**, **theirs** or **open**: every claim says which.

{{ cited() }}

Notes:
1 minute. Let everybody take a sheet for predictions: a guess counts only once it is written down.
"""


class Row(NamedTuple):
    """A slide in the guide's list: number of deck and slide, what stands there, if late."""

    deck: int
    slide: int
    title: str
    minutes: int
    leave_out: bool


def rows(guide=None):
    """The guide's list. ValueError where there is none."""
    text = GUIDE.read_text(encoding="utf-8") if guide is None else guide
    listed = text.partition(MARKS[0])[2].partition(MARKS[1])[0]
    found = [
        Row(int(deck), int(slide), title, int(minutes), bool(late))
        for deck, slide, title, minutes, late in ROW.findall(listed)
    ]
    if not found:
        raise ValueError(f"no list of slides between {MARKS[0]} and {MARKS[1]}")
    return found


def markdown(decks, guide=None):
    """The lecture as a deck. decks: {name: text}, a name beginning with the number of its deck.

    ValueError where the guide's number and title are not those of one slide.
    """
    parts = {int(name[0]): re.split(r"(?m)^---$", text) for name, text in decks.items()}
    chosen = [OPENING]
    for row in rows(guide):
        slides = parts.get(row.deck, [])
        slide = slides[row.slide - 1].strip() if row.slide <= len(slides) else ""
        if slide.partition("\n")[0] != f"## {row.title}":
            raise ValueError(
                f"the guide has {row.title!r} as {row.deck}-{row.slide}: {slide[:60]!r}"
            )
        chosen.append(slide)
    return "\n\n---\n\n".join(chosen)
