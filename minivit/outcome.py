"""What the records of a comparison show: each arm's curves, its last accuracy, and a table of all.

An arm is named by its attention initializer, and by what else tells two arms of one apart.
"""

from minivit.records import paired_difference, select, summarise


def curves(records):
    """base → arm → validation accuracies, a row for each seed: what figures draw."""
    return {
        base: {
            name: [[epoch["validation_accuracy"] for epoch in r.epochs] for r in arm]
            for name, arm in arms.items()
        }
        for base, arms in _by_base(records).items()
    }


def _by_base(records):
    """base → arm → its records."""
    bases = dict.fromkeys(record.base for record in records)
    return {base: _arms(select(records, base=base)) for base in bases}


def _arms(records):
    """The arms of one base by name: attention, and in what else two of one attention differ."""
    found = {}
    for r in records:
        found.setdefault((r.attention, r.variant, r.learning_rate), []).append(r)

    def name(attention, variant, rate):
        others = [key for key in found if key[0] == attention]
        several = len({variant for _, variant, _ in others}) > 1
        words = [attention, variant] if several and variant else [attention]
        rates = {each for _, v, each in others if v == variant}
        return " ".join([*words, f"{rate:g}"] if len(rates) > 1 else words)

    return {name(*key): arm for key, arm in found.items()}


def last_accuracy(record):
    """The test accuracy where it was read, else that of the last epoch on validation images."""
    if record.final_accuracy is not None:
        return record.final_accuracy
    return record.epochs[-1]["validation_accuracy"]


def table(records) -> str:
    """Accuracy in percent at the last epoch, and the difference from plain, paired by seed.

    Raises ValueError where there is no record, and for records of several roles: a live run and a
    final one of the same seed are two runs.
    """
    if len({r.role for r in records}) != 1:
        raise ValueError(f"{len(records)} records; a table takes one or more, all of one role")
    read = "test" if all(r.final_accuracy is not None for r in records) else "validation"
    by_base = _by_base(records)
    width = max(13, *(len(name) for arms in by_base.values() for name in arms)) + 1
    lines = [f"{'base':<18}{'attention':<{width}}{'seeds':>5}  {read + ', %':<16}minus plain"]
    for base, arms in by_base.items():
        for name, arm in arms.items():
            level = summarise([100 * last_accuracy(record) for record in arm])
            spread = f" ± {level.std:.1f}" if level.n > 1 else ""
            cells = f"{level.n:>5}  {f'{level.mean:.1f}{spread}':<16}{_difference(arm, arms)}"
            lines.append(f"{base:<18}{name:<{width}}{cells}".rstrip())
    if min(len(arm) for arms in by_base.values() for arm in arms.values()) == 1:
        lines.append("One seed is a look, not evidence: the next may differ by more than this.")
    return "\n".join(lines)


def _difference(arm, arms):
    """From plain with the same variant and, where it has several learning rates, the same rate."""
    own = arm[0]
    plain = [a for a in arms.values() if (a[0].attention, a[0].variant) == ("plain", own.variant)]
    if len(plain) > 1:
        plain = [each for each in plain if each[0].learning_rate == own.learning_rate]
    plain = plain[0] if plain else []
    if own.attention == "plain" or {r.seed for r in arm} != {r.seed for r in plain}:
        return ""
    if len(arm) == 1:
        return f"{100 * (last_accuracy(arm[0]) - last_accuracy(plain[0])):+.1f}"
    mean, _, _, low, high = paired_difference(arm, plain, value=last_accuracy)
    return f"{100 * mean:+.1f}  [{100 * low:+.1f}, {100 * high:+.1f}]"
