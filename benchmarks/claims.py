"""Writes CLAIMS.md and README's results from the records; `make claims` runs it.

A claim of the paper or of a follow-up stands beside our number for the same contrast, or says "not
tested". The confidence mark is that of our source for *their* number: A, read in the paper, its
abstract or its code; B, quoted by somebody who read it, or in two sources that agree.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import claims_pretrained, findings, ship
from benchmarks.statements import VARIANTS, Runs, images
from benchmarks.study import BETTER, DATA_SIZES, LOUDEST
from minivit.evidence import contrast, points, verdict
from minivit.figures import ARM_NAMES
from minivit.init import BASES
from minivit.records import load_records

ROOT = Path(__file__).parents[1]
PAPER = "Trockman & Kolter 2023 (2305.09828)"
COMPARED = ("plain", "norm_matched", "rotated")
MARKS = ("<!-- results -->", "<!-- /results -->")


class Claim(NamedTuple):
    """What somebody claims, and the contrast of ours that is positive if it is so here.

    theirs: their number in points, for the verdict; None where they give none for this contrast.
    ours: from Runs to a Summary; None where nothing of ours tests it.
    """

    text: str
    source: str
    mark: str
    quoted: str
    ours: Callable | None = None
    theirs: float | None = None
    setting: str = ""


def _positions_and_pooling(runs):
    """For plain: what sin-cos positions are worth, plus what mean pooling is worth."""
    plain, learned, cls = (
        runs("plain"),
        runs("plain", "positions=learned"),
        runs("plain", "pool=cls"),
    )
    return contrast([plain, plain], [learned, cls])


CLAIMS = (
    Claim(
        "Mimetic initialization raises the accuracy of a ViT on CIFAR-10",
        f"{PAPER}, abstract",
        "A",
        "over 5 points",
        lambda runs: runs.gain(),
        5.0,
        f"mimetic minus plain, {BETTER}",
    ),
    Claim(
        "The same",
        "Trockman, thesis CMU-CS-25-114, abstract",
        "A",
        "up to 6 %",
        lambda runs: runs.gain(base="vit_trunc_normal"),
        6.0,
        "mimetic minus plain, vit_trunc_normal",
    ),
    Claim(
        "It is the structure, not the size of the weights",
        "implied by the method; a norm-matched mode exists in osiriszjq/structured_initialization",
        "A",
        "no number",
        lambda runs: runs.gain("mimetic", "norm_matched"),
        None,
        f"mimetic minus norm-matched, {BETTER}",
    ),
    Claim(
        "It raises accuracy on ImageNet-1k",
        f"{PAPER}, abstract",
        "A",
        "over 4 points",
    ),
    Claim(
        "With strong ImageNet recipes little of the gain is left",
        "Saratchandran & Lucey, ICLR 2026",
        "B",
        "ViT-B +0.2, DeiT-B 0.0",
    ),
    Claim(
        "Language models gain less",
        PAPER,
        "B",
        "no number",
        setting="not in points: lesson 08 measures a small character model, in bits",
    ),
    Claim(
        "The gain is larger on little data",
        "Cornell CS4782 reproduction of 2505.19985",
        "A",
        "+6.4 on 10 %, +2.9 on all of CIFAR-10",
        lambda runs: runs.excess(DATA_SIZES[1], DATA_SIZES[-1]),
        3.5,
        f"gain on {images(DATA_SIZES[1])} minus gain on {images(DATA_SIZES[-1])}, equal steps",
    ),
    Claim(
        "Many heads weaken it: a head's product has too small a rank for the identity",
        "Zheng, Li & Lucey (2404.01139)",
        "B",
        "no number for this contrast",
        lambda runs: runs.excess("heads=1", "heads=8"),
        None,
        "gain with 1 head minus gain with 8",
    ),
    Claim(
        "Heads that begin as shifted impulses do as well as mimetic, or a little better",
        "Cornell CS4782 reproduction of 2505.19985",
        "A",
        "CIFAR-10: 92.47 against mimetic's 91.99 %",
        lambda runs: runs.gain("impulse", "mimetic"),
        0.48,
        f"impulse minus mimetic, {BETTER}; our impulses are not made as theirs",
    ),
    Claim(
        "Mean pooling and sin-cos positions alone raise a plain ViT",
        "Zheng, Li & Lucey (2404.01139), quoted in a review",
        "B",
        "81.23 → 85.30 %, both at once, from class token and learned positions",
        _positions_and_pooling,
        4.07,
        "plain: sin-cos minus random positions at the start, plus mean pooling minus class token",
    ),
    Claim(
        "The sign of OV has little effect without positional structure; both together matter",
        "Turan, Abel & Ovsjanikov (2609.37921), appendix K.4.1",
        "A",
        "no number for this contrast",
        lambda runs: runs.excess("", "positions=shuffled"),
        None,
        "mimetic's gain with positions in place minus its gain with shuffled ones",
    ),
    Claim(
        "A multiple of +I in the value path works as well",
        "Saratchandran & Lucey, ICLR 2026 (V = +I)",
        "B",
        "CIFAR-100: 75.3 against mimetic's 75.0 %",
        lambda runs: runs.gain("ov_flipped"),
        None,
        f"OV flipped to +I minus plain, {BETTER}; our V and W_proj are not theirs",
    ),
)


def outcome(summary, theirs):
    """What our interval says of a claim that the contrast is positive.

    reproduced: above 0, and their number is not above the interval. direction only: above 0, and
    their number is larger than the interval allows, or they give none.
    """
    if summary is None:
        return "not tested"
    if summary.high < 0:
        return "contradicted"
    if summary.low <= 0:
        return "not at this scale"
    return "direction only" if theirs is None or 100 * summary.high < theirs else "reproduced"


HEAD = """# Claims

What the paper and its follow-ups claim, and what our records say. Made by `make claims`; do not
edit: a test compares this page with the records. Our configuration is the scale `laptop` of
[FINDINGS.md](benchmarks/FINDINGS.md): a small ViT, minutes of training, CIFAR-10 as JPEG images.
Theirs are larger and train for longer. So a row that says *not at this scale* is no refutation.

*Mark*: A, we read it in the paper, its abstract or its code; B, quoted by somebody who read it.
*Ours*: percentage points with a 95 % interval, paired by seed.

| claim | source | mark | theirs | ours: contrast | ours | verdict | records |
|---|---|---|---|---|---|---|---|
"""
FOOT = """
*reproduced*: the interval is above 0, and their number is not above it. *direction only*: above 0,
but smaller than theirs, or they give no number. *not at this scale*: the interval holds 0.
*contradicted*: it is below 0. *not tested*: no run of ours, or too few.

Records are files in `minivit/records`, one for each seed: what is named here is how their names
begin. The command that makes a run again stands under each table of
[FINDINGS.md](benchmarks/FINDINGS.md).
"""


def claims_page(records):
    """The whole of CLAIMS.md."""
    rows = "".join(_row(claim, Runs(records)) for claim in CLAIMS)
    return HEAD + rows + FOOT + claims_pretrained.section()


def _row(claim, runs):
    ours = None if claim.ours is None else claim.ours(runs)
    number = "–" if claim.ours is None else points(ours)
    files = {run.filename.partition("-seed")[0] for run in runs.used} if ours else ()
    cells = [claim.text, claim.source, claim.mark, claim.quoted, claim.setting or "–", number]
    cells += [outcome(ours, claim.theirs), "<br>".join(f"`{name}`" for name in sorted(files))]
    return f"| {' | '.join(cells)} |\n"


def readme_results(records):
    """What stands between the marks in README: one small table, or nothing without records."""
    rows = []
    for base in BASES:
        gains = [Runs(records, base).gain("mimetic", over) for over in COMPARED]
        if gains[0] is not None:
            rows.append(f"| {base} | {' | '.join(map(points, gains))} |")
    if not rows:
        return ""
    data = " and ".join(sorted({r.data["name"] for r in records if r.role == "final"}))
    return "\n".join(
        [
            "## What we measured",
            "",
            f"{data}; a small ViT, minutes of training on a CPU (scale `laptop`). Test accuracy of "
            "mimetic less that of another way to start attention, in percentage points, paired by "
            "seed, with 95 % intervals. The *base*, PyTorch's or timm's, sets all other weights:",
            "",
            f"| base | {' | '.join(f'mimetic − {ARM_NAMES[arm]}' for arm in COMPARED)} |",
            "|---" * (len(COMPARED) + 1) + "|",
            *rows,
            "",
            *_where_worse(Runs(records)),
            *_one_factor(Runs(records)),
            "Everything else, what did not come out included: "
            "[benchmarks/FINDINGS.md](benchmarks/FINDINGS.md). Beside the paper's claims: "
            "[CLAIMS.md](CLAIMS.md). The rules: [benchmarks/PROTOCOL.md](benchmarks/PROTOCOL.md).",
            "Doubt a number? `.venv/bin/python -m benchmarks.again` trains a run again in minutes, "
            "on the same images (see *Data*), and says by how much it differs.",
        ]
    )


def _where_worse(runs):
    """A line on what was changed in the recipe where mimetic then ended below plain."""
    gains = {words: runs.gain(variant=variant) for variant, words in VARIANTS.items()}
    worse = [
        f"{words}, {points(gain)}"
        for words, gain in gains.items()
        if verdict(gain) == "does not hold"
    ]
    return [f"**Worse than plain** ({BETTER}): {'; '.join(worse)}.", ""] if worse else []


def _one_factor(runs):
    """A line on how far a change of one number brings plain, and whether mimetic is above that."""
    louder, loudest = ([runs(arm, LOUDEST[arm])] for arm in ("plain", "mimetic"))
    alone, left = contrast(louder, [runs("plain")]), contrast(loudest, louder)
    if left is None or verdict(alone) != "holds":
        return []
    gains = {arm: runs.gain("mimetic", arm, LOUDEST["mimetic"]) for arm in COMPARED[1:]}
    controls = "".join(
        f"; − {ARM_NAMES[arm]}: {points(gain)}" for arm, gain in gains.items() if gain
    )
    factors = ", ".join(f"{arm} × {v.partition('=')[2]}" for arm, v in LOUDEST.items())
    return [
        f"**A simpler change** ({BETTER}): plain with {VARIANTS[LOUDEST['plain']]}, and nothing "
        f"else, − plain: {points(alone)}. Where each has the factor that is best for it on "
        f"validation images ({factors}), mimetic − plain: {points(left)}{controls}. Why: open.",
        "",
    ]


def with_results(readme, results):
    """README with `results` between its two marks."""
    start, end = map(re.escape, MARKS)
    inside = f"{MARKS[0]}\n{results}\n{MARKS[1]}" if results else "\n".join(MARKS)
    return re.sub(f"{start}.*?{end}", lambda _: inside, readme, flags=re.DOTALL)


def main():
    ship.main()
    findings.main()
    records, readme = load_records(), ROOT / "README.md"
    (ROOT / "CLAIMS.md").write_text(claims_page(records), encoding="utf-8")
    text = with_results(readme.read_text(encoding="utf-8"), readme_results(records))
    readme.write_text(text, encoding="utf-8")
    print(ROOT / "CLAIMS.md", readme, sep="\n")


if __name__ == "__main__":
    main()
