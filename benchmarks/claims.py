"""Writes CLAIMS.md and README's results from the records; `make claims` runs it.

A claim of the paper or of a follow-up (`claims_of_others.py`) stands beside our number for the same
contrast, or says "not tested".
"""

import re
from pathlib import Path

from benchmarks import claims_pretrained, findings, patch_scale, replication, ship
from benchmarks.claims_of_others import CLAIMS
from benchmarks.rates import SEEDS
from benchmarks.statements import VARIANTS, Runs, contrast, length
from benchmarks.study import BETTER, DATA_SIZES, EQUAL, EQUAL_TOKENS, LONG, LOUDEST
from minivit.evidence import points, verdict
from minivit.figures import ARM_NAMES
from minivit.init import BASES
from minivit.records import load_records
from minivit.storage import write_text

ROOT = Path(__file__).parents[1]
COMPARED = ("plain", "norm_matched", "rotated")
MARKS = ("<!-- results -->", "<!-- /results -->")


def outcome(summary, theirs):
    """What our interval says of a claim that the contrast is positive, at our scale.

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
Theirs are larger and train for longer. So neither *not at this scale* nor *contradicted* refutes
them.

*Mark*: A, we read it at the source (paper, abstract, README or code); B, quoted by somebody who
read it.
*Ours*: percentage points with a 95 % interval over seeds, paired; not corrected for their number.

| claim | source | mark | theirs | ours: contrast | ours | verdict | records |
|---|---|---|---|---|---|---|---|
"""
FOOT = """
*reproduced*: the interval is above 0, and their number is not above it. *direction only*: above 0,
but smaller than theirs, or they give none ("up to" is none). *not at this scale*: the interval
holds 0. *contradicted*: it is below 0, here. *not tested*: no run of ours, or not yet all that are
planned, or it is in another unit.

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
    setting = claim.setting(runs) if callable(claim.setting) else claim.setting
    files = {run.filename.partition("-seed")[0] for run in runs.used} if ours else ()
    cells = [claim.text, claim.source, claim.mark, claim.quoted, setting or "–", number]
    cells += [outcome(ours, claim.theirs), "<br>".join(f"`{name}`" for name in sorted(files))]
    return f"| {' | '.join(cells)} |\n"


def readme_results(records, again=()):
    """What stands between the marks in README: one small table, or nothing without records.

    again: the runs of `benchmarks.replication`.
    """
    rows = []
    for base in BASES:
        gains = [Runs(records, base).gain("mimetic", over) for over in COMPARED]
        if gains[0] is not None:
            rows.append(f"| {base} | {' | '.join(map(points, gains))} |")
    if not rows:
        return ""
    data = " and ".join(sorted({r.data["name"] for r in records if r.role == "final"}))
    twice = replication.bases(records, again)
    rows_of = f"row{'s' * (len(twice) > 1)} of {' and '.join(twice)}"
    elsewhere = f"; FINDINGS.md has the {rows_of} from another processor, too" if twice else ""
    return "\n".join(
        [
            "## What we measured",
            "",
            f"{data}; a small ViT, minutes of training on a CPU (scale `laptop`). Test accuracy of "
            "mimetic less that of another way to start attention, in percentage points, paired by "
            "seed, with 95 % intervals over seeds (other images may give other numbers; "
            "FINDINGS.md marks what withstands a correction for the number of intervals). The "
            "*base*, PyTorch's or timm's, sets all other weights:",
            "",
            f"| base | {' | '.join(f'mimetic − {ARM_NAMES[arm]}' for arm in COMPARED)} |",
            "|---" * (len(COMPARED) + 1) + "|",
            *rows,
            "",
            *_where_worse(Runs(records)),
            *_one_factor(Runs(records)),
            *_equal_logits(Runs(records)),
            *_longer(Runs(records)),
            _equal_tokens(Runs(records)),
            "",
            "Everything else, what did not come out included: "
            "[benchmarks/FINDINGS.md](benchmarks/FINDINGS.md). Beside the paper's claims: "
            "[CLAIMS.md](CLAIMS.md). The rules: [benchmarks/PROTOCOL.md](benchmarks/PROTOCOL.md).",
            "Doubt a number? `.venv/bin/python -m benchmarks.again` trains a run again in minutes, "
            "on the same images (see *Data*), and says by how much it differs. On the processor "
            "and torch of its record it should not; elsewhere rounding parts single runs"
            f"{elsewhere}.",
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
    factors = ", ".join(f"{arm} × {v.partition('=')[2]}" for arm, v in LOUDEST.items())
    tried = f"of {1 + len(patch_scale.GRID)} that were tried with {len(SEEDS)} seeds"
    return [
        f"**A simpler change** ({BETTER}): {VARIANTS[LOUDEST['plain']]}, and nothing else, lifts "
        f"plain by {points(alone)}. Where plain and mimetic each have the factor that did best for "
        f"them on validation images, {tried} ({factors}), mimetic − plain is {points(left)}. Why: "
        "open. (Asked after the runs with × 4 were seen.)",
        "",
    ]


def _equal_logits(runs):
    """A line on whether the gain is left where attention starts as sharply in both arms."""
    gains = [contrast([runs("mimetic")], [runs(arm, EQUAL[arm])]) for arm in ("rotated", "plain")]
    if None in gains:
        return []
    title = "A sharper start"
    if {*map(verdict, gains)} == {"holds"}:
        title += " is not it"
    rotated, plain = map(points, gains)
    return [
        f"**{title}** ({BETTER}): before training mimetic's logits spread further than the "
        "others'. With W_Q W_Kᵀ so enlarged that they spread alike, mimetic − rotated is "
        f"{rotated}, and mimetic − plain is {plain}. (Asked later still.)",
        "",
    ]


def _equal_tokens(runs):
    """A line on the size of tokens: what no control shares, and what is left where it is shared."""
    small, large = EQUAL_TOKENS["plain"], EQUAL_TOKENS["mimetic"]
    gains = [
        contrast([runs("mimetic")], [runs("plain", small)]),
        contrast([runs("mimetic", large)], [runs("rotated")]),
        contrast([runs("plain", small)], [runs("plain")]),
    ]
    shrink = (
        "on their way through an untrained network tokens shrink under −I, and grow in plain and "
        "both controls (lesson 05)."
    )
    if None in gains:
        return f"**What no control shares**: {shrink} Why −I helps is open."
    title = "Small tokens" + " are not it" * ({*map(verdict, gains[:2])} == {"holds"})
    down, up = (variant.rpartition("=")[2] for variant in (small, large))
    plain, rotated, moved = map(points, gains)
    return (
        f"**{title}** ({BETTER}): {shrink} Where a factor on all that enters the first block makes "
        f"plain's as small on average (× {down}), plain changes by {moved}, and mimetic − plain is "
        f"{plain}. Where it makes "
        f"mimetic's as large as rotated's (× {up}), mimetic − rotated is {rotated}. (Asked last.) "
        "That tokens shrink at all, no control shares. Why −I helps is open."
    )


def _longer(runs):
    """A line on what is left of the gain after more steps."""
    short = DATA_SIZES[-1]
    gains = [
        runs.gain(variant=short),
        runs.gain("mimetic", "plain", LONG),
        runs.gain("mimetic", "rotated", LONG),
    ]
    if None in gains:
        return []
    less, kept = runs.excess(LONG, short), {*map(verdict, gains)} == {"holds"}
    title = "Longer training" + " leaves a gain" * kept
    if kept and verdict(less) == "does not hold":
        title = "Longer training leaves less of the gain"
    before, after, rotated = map(points, gains)
    return [
        f"**{title}** ({BETTER}): mimetic − plain is {before}, after {length(short)}, and {after}, "
        f"after {length(LONG)}. Mimetic − rotated is {rotated} there. (Asked after mimetic's "
        "runs were seen.)",
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
    write_text(ROOT / "CLAIMS.md", claims_page(records))
    text = with_results(
        readme.read_text(encoding="utf-8"), readme_results(records, replication.records())
    )
    write_text(readme, text)
    print(ROOT / "CLAIMS.md", readme, sep="\n")


if __name__ == "__main__":
    main()
