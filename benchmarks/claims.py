"""Writes CLAIMS.md and README's results from the records; `make claims` runs it.

A claim of the paper or of a follow-up (`claims_of_others.py`) stands beside our number for the same
contrast, or says "not tested".
"""

import re
from pathlib import Path

from benchmarks import (
    claims_pretrained,
    findings,
    fresh_seeds,
    full_size,
    replication,
    results_picture,
    ship,
)
from benchmarks.claims_of_others import CLAIMS
from benchmarks.results_picture import COMPARED
from benchmarks.runs import Runs
from benchmarks.statements import marks
from benchmarks.study import BETTER, LOUDEST, ONLY_CENTRED, at_laptop
from benchmarks.wording import level
from minivit.evidence import points, verdict
from minivit.figures import ARM_NAMES
from minivit.init import BASES
from minivit.recipes import LAPTOP
from minivit.records import load_records
from minivit.storage import write_text

ROOT = Path(__file__).parents[1]
OPEN = (
    "**Open**: why the −I in W_V W_proj helps. With it tokens shrink on their way through an "
    "untrained network; in plain and under both controls they grow (lesson 05), so no control "
    "tells shrinking from the identity. "
    "Shrinking alone is not enough: without the vector that positions share tokens shrink, too "
    "(`python -m benchmarks.token_size`), and no gain over plain is shown."
)
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
        return "not shown at this scale"
    return "direction only" if theirs is None or 100 * summary.high < theirs else "reproduced"


HEAD = """# Claims

What the paper and its follow-ups claim, and what our records say. Made by `make claims`; do not
edit: a test compares this page with the records. Our configuration, where no other is named, is
the scale `laptop` of [FINDINGS.md](benchmarks/FINDINGS.md): a small ViT, minutes of training,
CIFAR-10 as JPEG images.
Theirs are larger or train for longer, most of them both. So neither *not shown at this
scale* nor *contradicted* refutes them.

*Mark*: A, we read it at the source (paper, abstract, README or code); B, quoted by somebody who
read it; –, nobody else's claim.
*Ours*: percentage points with a 95 % interval over seeds, paired; not corrected for their number.

| claim | source | mark | theirs | ours: contrast | ours | verdict | records |
|---|---|---|---|---|---|---|---|
"""
FOOT = """
*reproduced*: the interval is above 0, and their number is not above it. *direction only*: above 0,
but smaller than theirs, or they give none ("up to" is none). *not shown at this
scale*: the interval holds 0, so these runs do not tell. *contradicted*: it is below 0, here.
*not tested*: no run of ours, or not yet all that are planned, or it is in another unit; *a
relative*: what we ran is akin to their method, not it.
Of our own questions (–) we say *holds*, *not known* or *does not hold*, as FINDINGS.md does.

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
    read = "not tested (a relative)" if claim.relative else outcome(ours, claim.theirs)
    read = verdict(ours) if claim.mark == "–" else read
    cells += [read, "<br>".join(f"`{name}`" for name in sorted(files))]
    return f"| {' | '.join(cells)} |\n"


def readme_results(records, again=(), fresh=()):
    """What stands between the marks in README: one small table, or nothing without records.

    again: the runs of `benchmarks.replication`; fresh: those of `benchmarks.fresh_seeds`.
    """
    rows, mark = [], marks(records)
    for base in BASES:
        gains = [Runs(records, base).gain("mimetic", over) for over in COMPARED]
        if gains[0] is not None:
            rows.append(f"| {base} | {' | '.join(map(mark, gains))} |")
    if not rows:
        return ""
    data = " and ".join(sorted({r.data["name"] for r in at_laptop(records)}))
    twice = replication.bases(records, again)
    rows_of = f"row{'s' * (len(twice) > 1)} of {' and '.join(twice)}"
    most = ARM_NAMES[replication.most_apart(records, again)] if twice else ""
    elsewhere = f", {most}'s most; FINDINGS.md also has the {rows_of} from another processor"
    elsewhere = elsewhere if twice else ""
    return "\n".join(
        [
            "## What we measured",
            "",
            f"{data}; a small ViT ({_small()}) whose positions start as a table of sines and "
            f"cosines; {LAPTOP.subset:,} images, {LAPTOP.training.epochs} epochs, minutes on a CPU "
            "(scale `laptop`).",
            "",
            "An *arm* is a way to start attention. *Plain* leaves it as the *base* has it, "
            "PyTorch's or timm's way to start all weights. *Norm-matched* writes noise with "
            "entries as large as mimetic's, and *rotated* mimetic's own weights, turned by random "
            "rotations. The numbers are test accuracy, mimetic minus another arm, in percentage "
            "points, paired by seed, with 95 % intervals over seeds; other images may give other "
            "numbers.",
            "",
            *_in_short(records),
            f"| base | {' | '.join(f'mimetic − {ARM_NAMES[arm]}' for arm in COMPARED)} |",
            "|---" * (len(COMPARED) + 1) + "|",
            *rows,
            "",
            "†: still differs from 0 after Holm's correction for all statements of FINDINGS.md."
            + _unsteady(records, again),
            "",
            results_picture.markdown(records),
            "",
            f"All that follows is on {BETTER}; on the other base only the table was run.",
            "",
            *full_size.line(records),
            *_where_it_harms(Runs(records), mark),
            *fresh_seeds.doubt(Runs(records), fresh),
            OPEN,
            "",
            "Everything else, what did not come out included: "
            "[benchmarks/FINDINGS.md](benchmarks/FINDINGS.md), which begins with a table of what "
            "the gain is where something else is made alike or changed. Beside the paper's claims: "
            "[CLAIMS.md](CLAIMS.md). The rules: [benchmarks/PROTOCOL.md](benchmarks/PROTOCOL.md).",
            "Doubt a number? `.venv/bin/python -m benchmarks.again` trains a run of a CPU again in "
            "minutes, on the same images (see *Data*), and says by how much it differs. On the "
            "processor and torch of its record it should not; elsewhere rounding makes single runs "
            f"differ{elsewhere}.",
        ]
    )


def _unsteady(records, again):
    """What † is worth: how many statements lose or gain it by rounding alone."""
    had, lost, gained = replication.daggers(records, again) if again else ((), (), ())
    if not (lost or gained):
        return ""
    moved = had & replication.moved(records, again)
    in_table, lost_here, got_here = (sum(map(_in_the_table, each)) for each in (had, lost, gained))
    here = f" {lost_here} of this table's {in_table} † are lost and {got_here} won" * bool(in_table)
    return (
        " It is fragile: runs were made again on another processor, where only rounding differs."
        f"{here}; of the {len(moved)} statements with † that moved at all, {len(lost)} lose it."
    )


def _small():
    model = LAPTOP.model
    return f"d {model.dim}, {model.depth} layers, {model.heads} heads"


def _in_short(records):
    """The gains in one sentence without intervals, which follow; [] where not all of them hold."""
    pairs = {base: Runs(records, base) for base in BASES}
    loud = LOUDEST["mimetic"]
    louder = pairs[BETTER].gain(variant=loud) if LOUDEST["plain"] == loud else None
    gains = [runs.gain("mimetic", over) for runs in pairs.values() for over in COMPARED]
    if any(verdict(gain) != "holds" for gain in (*gains, louder)):
        return []
    ends = [
        f"at {level(runs('mimetic'))} % where plain ends at {level(runs('plain'))} % ({base})"
        for base, runs in pairs.items()
    ]
    return [
        f"In short: mimetic ends {', and '.join(ends)}, and above both controls. Over a plain "
        f"whose patch embedding starts larger, mimetic's as well, a gain of "
        f"{100 * louder.mean:.1f} points is left.{_without_the_vector(pairs[BETTER])}",
        "",
    ]


def _without_the_vector(runs):
    left = runs.gain(variant=ONLY_CENTRED)
    if left is None or verdict(left) == "holds":
        return ""
    return f" Without the vector that all positions share it is {points(left)}: our largest doubt."


def _in_the_table(text):
    """Whether a statement is of README's table: "On torch_default, mimetic ends higher than …"."""
    return text.startswith("On ") and ", mimetic ends higher than " in text


def _where_it_harms(runs, mark):
    gain = runs.gain(variant="positions=learned")
    if verdict(gain) != "does not hold":
        return []
    return [
        "**It can do harm**: where positions start random and as small as timm's and "
        f"torchvision's, mimetic − plain is {mark(gain)}. (Not run on timm's base; no rate was "
        "tuned there.)",
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
    results = readme_results(records, replication.records(), fresh_seeds.records())
    text = with_results(readme.read_text(encoding="utf-8"), results)
    write_text(readme, text)
    print(ROOT / "CLAIMS.md", readme, sep="\n")


if __name__ == "__main__":
    main()
