"""Writes benchmarks/FINDINGS.md from the records: tables, and sentences that an interval carries.

A statement says that a contrast is positive. It *holds* where the whole 95 % interval is above 0,
*does not hold* where it is below, and is *not known* otherwise. Nothing here is typed by hand but
the statements; `make claims` runs it, and a test fails where page and records differ.
"""

from pathlib import Path

from benchmarks import elsewhere, fresh_seeds, full_size, long_rates, patch_scale, replication
from benchmarks import rates as rates_module
from benchmarks.runs import Runs, contrast
from benchmarks.statements import statements, strong
from benchmarks.study import BETTER, DATA_SIZES, EQUAL, EQUAL_TOKENS, LONG, PLAN, missing
from benchmarks.wording import VARIANTS, images, length, level, when
from minivit.compare import DEFAULT_ARMS
from minivit.evidence import plain_threshold, points, time_to, verdict
from minivit.figures import ARM_NAMES
from minivit.init import BASES
from minivit.protocol import rates
from minivit.recipes import LAPTOP, recipe_digest
from minivit.records import load_records
from minivit.storage import write_text

PAGE = Path(__file__).parent / "FINDINGS.md"
COMMAND = "python -m minivit compare --role final --scale laptop"
SEEDS = "--seeds 0 1 2 3 4"


LOGITS = (
    "Logits that spread as far as another arm's at the start",
    "The controls have weights as large as mimetic's, and their logits spread less (`python -m "
    "benchmarks.logit_spread`). A factor on W_Q W_Kᵀ, found on validation images without training, "
    "gives rotated and plain the spread of mimetic, and mimetic that of rotated.",
    "W_Q W_Kᵀ",
)
TOKENS = (
    "Tokens on average as large as another arm's at the start",
    "Tokens shrink under −I on their way through an untrained network, and grow in plain and in "
    "the controls (`python -m benchmarks.token_size`). A factor on all that enters the first "
    "block, found on validation images without training, makes plain's as small as mimetic's, on "
    "average over the blocks, and mimetic's as large as rotated's.",
    "what enters the first block",
)


def page(records, tuning, factors=(), again=(), long=(), fresh=()):
    """The whole of FINDINGS.md.

    records: final ones; tuning: those of the learning rates; factors: those of patch_scale; again:
    those of replication; long: those of long_rates; fresh: those of fresh_seeds.
    """
    parts = [_head(records), elsewhere.section(records), _sentences(records), _unfinished(records)]
    parts += [rates_module.section(tuning)]
    parts += [_levels(records, base, rate) for rate in ("own", "plain") for base in BASES]
    parts += [replication.section(records, again)]
    parts += [
        _halves(records),
        _equal(records, EQUAL, *LOGITS),
        _equal(records, EQUAL_TOKENS, *TOKENS),
        _variants(records),
        fresh_seeds.section(records, fresh),
        _factors(factors),
        _sizes(records),
        _longer(records),
        long_rates.section(long),
        full_size.section(records),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(records):
    final = [r for r in records if (r.role, r.scale) == ("final", LAPTOP.name)]
    training, model = LAPTOP.training, LAPTOP.model
    names = " and ".join(sorted({record.data["name"] for record in final})) or "no data yet"
    machines = "; ".join(sorted({record.device for record in final}))
    commits = ", ".join(sorted({(record.commit or "none")[:8] for record in final}))
    return f"""# Findings

Made by `make claims` from the records in `minivit/records`; the rules are in
[PROTOCOL.md](PROTOCOL.md). Do not edit: a test compares this page with the records.

Data: **{names}** (its accuracies compare with each other, not with published ones).
Scale `laptop`: ViT with d {model.dim}, {model.depth} layers, {model.heads} heads, patch
{model.patch_size}, {LAPTOP.subset:,} training images, {training.epochs} epochs, batch
{training.batch_size}; recipe {recipe_digest(LAPTOP)[:8]} before arms, rates and variants.
{len(final)} final runs, on: {machines or "–"}; code at commits {commits or "–"}.

Accuracies are of the 10,000 test images, read once, after the last epoch; mean ± standard deviation
over seeds. Differences are in percentage points, paired by seed, with their 95 % t interval. A seed
varies weights, order and augmentation; the training images of a setting are the same for
all its seeds, the test images in all runs.
So an interval says what other seeds would give, not what other images would."""


def _levels(records, base, rate):
    runs = Runs(records, base)
    plain = runs("plain", rate=rate)
    if not plain:
        return ""
    same = all(len(set(rates("laptop", base, arm))) == 1 for arm in DEFAULT_ARMS)
    if same and rate == "plain":
        return ""  # the arms' own rates are plain's: the other table says it all
    title = "each arm at its own best rate" if rate == "own" else "every arm at plain's best rate"
    lines = [
        f"## Base {base}, {title}",
        "",
        f"Epochs: the first with plain's mean last validation accuracy, "
        f"{100 * plain_threshold(plain):.1f} %; the mean over the runs that reach it, and how many "
        "do where not all.",
        "",
        "| arm | rate | n | test, % | minus plain | mimetic minus this | epochs |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in DEFAULT_ARMS:
        own = runs(arm, rate=rate)
        if not own:
            continue
        over_plain = "" if arm == "plain" else points(runs.gain(arm, rate=rate))
        under = "" if arm == "mimetic" else points(runs.gain("mimetic", arm, rate=rate))
        cells = [ARM_NAMES[arm], f"{own[0].learning_rate:g}", len(own), level(own), over_plain]
        reached = when(time_to(own, plain_threshold(plain)))
        lines.append(f"| {' | '.join(map(str, [*cells, under, reached]))} |")
    plain_rate = "" if rate == "own" else f" --learning-rate {plain[0].learning_rate:g}"
    lines += ["", f"`{COMMAND} {SEEDS} --bases {base}{plain_rate}`"]
    return "\n".join(lines)


def _halves(records):
    runs = Runs(records)
    arms = [a for a in ("qk_only", "ov_only", "ov_flipped", "impulse", "mimetic") if runs(a)]
    if len(arms) < 2:
        return ""
    lines = [
        f"## Which half, and another structure ({BETTER})",
        "",
        "| arm | n | test, % | minus plain | mimetic minus this |",
        "|---|---|---|---|---|",
    ]
    for arm in arms:
        less = "" if arm == "mimetic" else points(runs.gain("mimetic", arm))
        own = runs(arm)
        cells = [ARM_NAMES[arm], len(own), level(own), points(runs.gain(arm)), less]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", f"`{COMMAND} {SEEDS} --bases {BETTER} --arms plain {' '.join(arms)}`"]
    return "\n".join(lines)


def _equal(records, variants, title, words, factor_on):
    """A table of arms that a factor makes alike in something: LOGITS, TOKENS."""
    runs = Runs(records)
    found = [(arm, runs(arm, variant)) for arm, variant in variants.items()]
    if not all(own for _, own in found):
        return ""
    lines = [
        f"## {title} ({BETTER})",
        "",
        f"{words} Learning rates are those of the arms without it, and under Adam a factor on what "
        "is trained also changes how fast it moves relative to its size.",
        "",
        f"| arm | {factor_on} | n | test, % | minus the arm without | mimetic minus this |",
        "|---|---|---|---|---|---|",
    ]
    for arm, own in found:
        usual, factor = runs(arm), variants[arm].rpartition("=")[2]
        moved, under = contrast([own], [usual]), contrast([runs("mimetic")], [own])
        cells = [ARM_NAMES[arm], f"× {factor}", len(own), level(own), points(moved), points(under)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    commands = [f"--arms {arm} --variant {variant}" for arm, variant in variants.items()]
    lines += ["", f"`{COMMAND} {SEEDS} --bases {BETTER} {commands[0]}`, and so on"]
    return "\n".join(lines)


def _variants(records):
    title = f"What else is changed ({BETTER})"
    table = _pairs(records, VARIANTS, title, "gain minus usual gain", "")
    note = "What tells patches apart, deviations from their mean, is half as large in × 0.04 as in "
    note += "random positions."
    return table and f"{table}\n\n{note}"


def _factors(tuning):
    if not tuning:
        return ""
    seeds = ", ".join(map(str, sorted({record.seed for record in tuning})))
    best = " and ".join(f"× {x:g} for {arm}" for arm, x in patch_scale.best(tuning).items())
    return f"""## How large the patch embedding starts ({BETTER})

Validation accuracy in percent after the last epoch, mean over seeds {seeds}
(`python -m benchmarks.patch_scale`), after the final runs with × 4 had been seen. Best: {best};
final runs with it are in the table above.

{patch_scale.table(tuning)}"""


def _sizes(records):
    names = {size: images(size) for size in DATA_SIZES}
    title = f"Data sizes at equal numbers of steps ({BETTER})"
    return _pairs(records, names, title, "gain minus gain on all", DATA_SIZES[-1])


def _longer(records):
    short, gain = DATA_SIZES[-1], Runs(records).gain("mimetic", "rotated", LONG)
    if gain is None:
        return ""
    names = {variant: length(variant) for variant in (short, LONG)}
    column = f"gain minus that after {names[short].partition(' of')[0]}"
    table = _pairs(records, names, f"Longer training ({BETTER})", column, short)
    below = Runs(records).gain("rotated", variant=LONG)
    return (
        f"{table}\n\n{long_rates.of_shared_seeds(Runs(records), short)}Mimetic minus rotated after "
        f"{names[LONG]}: {points(gain)}; rotated minus plain: {points(below)} (rotated's rate was "
        f"not tried at this length).{long_rates.at_best_rates(Runs(records))}"
    )


def _pairs(records, names, title, column, reference):
    """A table of plain and mimetic for several variants."""
    runs = Runs(records)
    found = [v for v in names if runs("plain", v) and runs("mimetic", v)]
    if not [variant for variant in found if variant]:
        return ""
    lines = [
        f"## {title}",
        "",
        f"| variant | n | plain, % | mimetic, % | gain | {column} |",
        "|---|---|---|---|---|---|",
    ]
    for variant in found:
        plain, mimetic = runs("plain", variant), runs("mimetic", variant)
        more = "" if variant == reference else points(runs.excess(variant, reference))
        gain = points(runs.gain(variant=variant))
        n = " and ".join(dict.fromkeys(str(len(each)) for each in (plain, mimetic)))
        cells = [names[variant], n, level(plain), level(mimetic), gain, more]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    example = next(variant for variant in found if variant)
    seeds = " ".join(str(run.seed) for run in runs("plain", example))
    rest = f"--seeds {seeds} --bases {BETTER} --arms plain mimetic --variant {example}"
    lines += ["", f"`{COMMAND} {rest}`, and so on"]
    return "\n".join(lines)


def _sentences(records):
    asked = statements(records)
    tested = [each for each in asked if each.contrast is not None]
    left = len(asked) - len(tested)
    waiting = f", those that wait for runs ({left}) included" * bool(left)
    lines = [
        "## What this says",
        "",
        f"{len(tested)} statements, each from all seeds that were planned for it. An arm takes its "
        "own best of three rates; QK only, OV only and OV flipped were not tuned and take "
        "mimetic's, a variant takes its arm's; at full size all take the recipe's, untuned. "
        "Intervals are not corrected for the number of statements, so about one in twenty misses "
        "its true value. "
        f"†: differs from 0 also where all {len(asked)} are asked at once (Holm's correction, "
        f"5 %){waiting}. With three seeds the width of an interval is luck, too: a narrow one, and "
        "its †, is no better evidence than its neighbours. Differences that stand only in tables "
        "are no statements. In brackets: what had been seen when it was asked; without, it stood "
        "before the first final run.",
    ]
    kept = strong(asked)
    for kind in ("holds", "does not hold", "not known"):
        of_kind = [each for each in tested if verdict(each.contrast) == kind]
        lines += ["", f"**{kind.capitalize()}**", ""]
        rows = [
            f"- {each.text} {points(each.contrast)}{' †' * (each.text in kept)}" for each in of_kind
        ]
        lines += rows or ["- nothing"]
    return "\n".join(lines)


def _unfinished(records):
    left = [(q.name, len(missing(q, records)), len(q.runs())) for q in PLAN]
    left.append(
        ("full size (what the GPU queue has after these is not counted)", *full_size.left(records))
    )
    rows = [f"- {name}: {gone} of {total} runs missing" for name, gone, total in left if gone]
    return "\n".join(["## Not finished", "", *(rows or ["Everything that was planned is here."])])


def main():
    others = (rates_module.records(), patch_scale.records(), replication.records())
    others += (long_rates.records(), fresh_seeds.records())
    write_text(PAGE, page(load_records(), *others))
    print(PAGE)


if __name__ == "__main__":
    main()
