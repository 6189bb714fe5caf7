"""Numbers in the instructor's pages: each is that of its statement in FINDINGS.md or CLAIMS.md."""

import json
import re

import pytest

from benchmarks.wording import size
from minivit.recipes import FULL
from teaching.exercises import ROOT
from teaching.slide_facts import asked, claim, finding

PAGES = {
    name: " ".join((ROOT / "teaching" / f"{name}.md").read_text(encoding="utf-8").split())
    for name in ("guide", "exam", "ta_sheet")
}
STRONG, WEAK = "On torch_default, ", "On vit_trunc_normal, "
SIZE = "larger weights alone (norm-matched) end higher than plain."
SPECTRUM = "mimetic's singular values without its alignment (rotated) end higher than plain."
OVER = "mimetic ends higher than {}."
RANDOM = (
    "Mimetic ends higher than plain: learned positions that start random (standard deviation 0.02)."
)
SMALL = "Mimetic ends higher than plain: sin-cos positions × 0.04, so as small as those."
SHUFFLED = "With shuffled positions (near ones not alike), mimetic still ends higher than plain."
LOUDER = "Patch embedding × 4, and nothing else, lets plain end higher."
BOTH_LOUDER = "Mimetic ends higher than plain: patch embedding × 4."
TURNED = [
    f"Mimetic ends higher than rotated: {words}."
    for words in (
        "learned positions that start random (standard deviation 0.02)",
        "sin-cos positions × 0.04, so as small as those",
    )
]
CENTRED = "sin-cos positions minus their mean over patches, rescaled to the table's spread"
ALONE = "sin-cos positions minus their mean over patches, not rescaled"
NOTHING_SHARED = [
    f"{ALONE.capitalize()}, and nothing else, let plain end higher.",
    f"Mimetic ends higher than plain: {ALONE}.",
    "Mimetic gains more with the sin-cos table as it is than with the table minus its mean over "
    "patches, not rescaled.",
    "Mimetic ends higher than plain: sin-cos positions × 1.86.",
]
AS_LARGE = [
    f"Mimetic ends higher than plain: {CENTRED}.",
    f"Mimetic ends higher than rotated: {CENTRED}.",
]
WITHOUT = [
    f"QK alone ends higher than plain: {ALONE}.",
    f"OV alone ends higher than plain: {ALONE}.",
    f"Mimetic ends higher than rotated: {ALONE}.",
]
BOTH_LOUDER_WITHOUT = (
    "Mimetic ends higher than plain: patch embedding × 4, sin-cos positions minus their mean over "
    "patches."
)
SMALL_TOKENS = "Tokens as small as mimetic's (× 0.4), and nothing else, let plain end higher."
LARGE_TOKENS = "Mimetic whose tokens are as large as rotated's (× 2.1) ends higher than rotated."
BOTH_LARGE = "Mimetic ends higher than rotated: × 2.1 on what enters the first block of both."
SHARP = (
    "Logits that spread as far as mimetic's (W_Q W_Kᵀ × 9), and nothing else, let plain end higher."
)
OVER_SHARP = "Mimetic ends higher than plain whose logits spread as far (W_Q W_Kᵀ × 9)."
WIDE = "Mimetic ends higher than rotated whose logits spread as far (W_Q W_Kᵀ × 2.6)."
NARROW = (
    "Mimetic whose logits spread no further than rotated's (W_Q W_Kᵀ × 0.36) ends higher than "
    "rotated."
)
FLIPPED = "With +I in OV, the rest of mimetic still ends higher than plain."
HEADS = "Mimetic gains more with 1 head than with 8."
ALL = "Mimetic ends higher than plain on 45,000 images (100 %)."
TINY = f"Mimetic ends higher than plain at full size: {size(FULL)}."
LONG = "Mimetic ends higher than {} after 6 epochs of 45,000 images (8,436 steps)."
# (page, words around the numbers, a statement for each {})
QUOTED = [
    (
        "guide",
        "above plain, norm-matched is at {}; mimetic is above norm-matched by {} |",
        [STRONG + SIZE, STRONG + OVER.format("norm-matched")],
    ),
    (
        "guide",
        "size alone gives {} of mimetic's {} over plain, and {} over norm-matched is left",
        [WEAK + SIZE, WEAK + OVER.format("plain"), WEAK + OVER.format("norm-matched")],
    ),
    (
        "guide",
        "which has all of mimetic's, is at {} from plain; mimetic is above rotated by {} |",
        [STRONG + SPECTRUM, STRONG + OVER.format("rotated")],
    ),
    (
        "guide",
        "plain whose logits spread as far is at {} above plain as it is, mimetic at {} above",
        [SHARP, OVER_SHARP],
    ),
    ("guide", "Mimetic is {} above a rotated whose logits spread as far", [WIDE]),
    ("guide", "whose logits spread no further than rotated's, {} above rotated |", [NARROW]),
    (
        "guide",
        "on average over the blocks (and more alike than before: one factor does both), plain is "
        "at {} from plain as it is; mimetic with tokens as large as rotated's is {} above rotated "
        "(where both get that factor, {}) |",
        [SMALL_TOKENS, LARGE_TOKENS, BOTH_LARGE],
    ),
    ("guide", "with +I there the rest of mimetic is at {} above plain", [FLIPPED]),
    ("guide", "with shuffled positions {} over plain is left", [SHUFFLED]),
    ("guide", "ends *below* plain ({} random, {} sin-cos);", [RANDOM, SMALL]),
    ("guide", "better or worse than rotated there ({}, {}; made again", TURNED),
    ("guide", "patch embedding × 4, and nothing else, lets plain gain {};", [LOUDER]),
    ("guide", "mimetic gains {} over it where both have it", [BOTH_LOUDER]),
    (
        "guide",
        "plain gains {}, mimetic is at {} from that plain, and of the gain {} goes; with the whole "
        "table × 1.86 it stays, {} |",
        NOTHING_SHARED,
    ),
    ("guide", "as large as the table, it is {}, and {} above such a rotated", AS_LARGE),
    (
        "guide",
        "QK alone is at {} from plain, OV alone at {}, and mimetic at {} above rotated (which",
        WITHOUT,
    ),
    ("guide", "mimetic without the vector is at {} (beside", [BOTH_LOUDER_WITHOUT]),
    (
        "guide",
        "is {} above plain after 2 epochs (three seeds), and {} after 6 (five; FINDINGS has the "
        "same three; above rotated {} there, for rotated ends well below plain; asked later)",
        [ALL, LONG.format("plain"), LONG.format("rotated")],
    ),
    ("guide", "ViT-Tiny after 100 epochs: {} over plain (three seeds, rates not tuned,", [TINY]),
    ("exam", "the gain with 1 head minus that with 8, is {}.", [HEADS]),
    (
        "exam",
        "above plain: norm-matched {}, mimetic {}; mimetic above norm-matched {}.",
        [WEAK + SIZE, WEAK + OVER.format("plain"), WEAK + OVER.format("norm-matched")],
    ),
    ("exam", "“QK alone ends higher than plain” has {}.", ["QK alone ends higher than plain."]),
    (
        "exam",
        "“Mimetic ends higher than plain” on torch_default has {}.",
        [STRONG + OVER.format("plain")],
    ),
    (
        "exam",
        "is {} as the recipe is, {} with the sin-cos table × 0.04, {} with shuffled positions",
        [STRONG + OVER.format("plain"), SMALL, SHUFFLED],
    ),
    ("exam", "patch embedding × 4, and nothing else, gains {} over plain", [LOUDER]),
    ("ta_sheet", "with 1 head minus with 8 it is {}, not known", [HEADS]),
    (
        "ta_sheet",
        "norm-matched is at {} above plain, mimetic at {} above norm-matched. On vit_trunc_normal",
        [STRONG + SIZE, STRONG + OVER.format("norm-matched")],
    ),
    ("ta_sheet", "a large part is: norm-matched is at {} above plain", [WEAK + SIZE]),
    ("ta_sheet", "below plain: {} with random ones", [RANDOM]),
    (
        "ta_sheet",
        "share it is {} over plain; with patch embedding × 4 in both {}",
        [NOTHING_SHARED[1], BOTH_LOUDER],
    ),
    ("ta_sheet", "ViT-Tiny, 100 epochs: {} over plain, three seeds, no control", [TINY]),
]


def wrong_numbers(pages):
    """What stands in the pages and not in the records, or under another statement."""
    pages, found = dict(pages), []
    for page, words, texts in QUOTED:
        expected = words.format(*map(finding, texts))
        if expected not in pages[page]:
            found.append(f"{page}: {expected}")
        pages[page] = pages[page].replace(expected, "")
    for page, text in pages.items():
        found += [f"{page}: {interval}" for interval in re.findall(r"\S+ \[[+−][^\]]*\]", text)]
    mixed = claim("In GPT-2's W_Q W_Kᵀ it is negative")["ours, beyond chance"]
    if mixed not in pages["ta_sheet"]:
        found.append(f"ta_sheet: {mixed}")
    for words in ("{} questions were asked", "Of {} right intervals"):
        if words.format(asked()) not in pages["exam"]:
            found.append(f"exam: {words.format(asked())}")
    return found


def test_numbers_in_the_instructors_pages_are_those_of_the_records():
    assert wrong_numbers(PAGES) == []
    assert finding(FLIPPED).verdict == finding(HEADS).verdict == "not known"
    # What guide, README and lesson 07 say in words.
    assert [finding(text).verdict for text in NOTHING_SHARED] == [
        "holds",
        "not known",
        "holds",
        "holds",
    ]
    assert [finding(text).verdict for text in AS_LARGE] == ["not known", "holds"]
    assert finding(RANDOM).verdict == finding(SMALL).verdict == "does not hold"


@pytest.mark.parametrize(
    "page, old, new",
    [
        ("guide", "rotated by +3.4 [+2.4, +4.3]", "rotated by +3.5 [+2.4, +4.3]"),
        (
            "guide",
            "−0.85 [−1.70, +0.00], −1.2 [−2.8, +0.3]",
            "−1.2 [−2.8, +0.3], −0.85 [−1.70, +0.00]",
        ),
        ("guide", "gain +2.1 [+1.8, +2.4] †", "gain +2.1 [+1.8, +2.4]"),
        ("exam", "has +0.9 [+0.2, +1.5]", "has +0.9 [+0.2, +1.5] †"),
        ("exam", "70 questions", "41 questions"),
        ("ta_sheet", "negative in 69", "negative in 96"),
        ("ta_sheet", "What not to answer", "One more: +9.9 [+9.0, +9.9]"),
    ],
)
def test_each_kind_of_wrong_number_is_seen(page, old, new):
    assert PAGES[page].count(old) == 1
    assert wrong_numbers({**PAGES, page: PAGES[page].replace(old, new)})


def leaks(text):
    """Lines of solved cells that stand in a text."""
    for path in (ROOT / "solutions").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            for solved in re.findall(r"### BEGIN SOLUTION(.*?)### END SOLUTION", source, re.S):
                lines = (" ".join(line.split()) for line in solved.splitlines())
                yield from (line for line in lines if len(line) > 15 and line in text)


def test_the_exam_has_ten_answers_sixty_marks_and_no_solution():
    exam = (ROOT / "teaching" / "exam.md").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^## ", exam)[1:]
    assert len(parts) == 10
    for number, part in enumerate(parts, start=1):
        head, _, answer = part.partition("**Answer.**")
        assert head.startswith(f"{number} · ")
        marks = int(re.search(r"\((\d+)\)$", head.splitlines()[0])[1])
        assert sum(map(int, re.findall(r"\((\d)\)", answer))) == marks, head
    total = sum(int(re.search(r"\((\d+)\)\n", part)[1]) for part in parts)
    assert exam.split("\n\n")[1].startswith(f"{total} marks")
    assert "```" not in exam and list(leaks(" ".join(exam.split()))) == []
    solved = json.loads((ROOT / "solutions" / "03_why_the_identity.ipynb").read_text("utf-8"))
    cells = " ".join(" ".join("".join(cell["source"]).split()) for cell in solved["cells"])
    assert list(leaks(cells))
