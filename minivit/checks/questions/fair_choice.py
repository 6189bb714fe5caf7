"""Lesson 05: an unfair comparison, mended."""

from dataclasses import replace

import numpy as np

from minivit.checks.fixed import Fixed, Mistake, altered
from minivit.checks.question import Case, Question

STATEMENT = """\
A colleague compares a new initializer with the plain one, and reports the best number that each of
them ever had on the test images. You get all of the colleague's curves. Make a fair comparison of
them, by the rules of the lesson.

`validation` and `test` have shape (arm, rate, seed, epoch): two arms (0 is plain, 1 is new),
trained at several learning rates with several seeds, and the accuracies after each epoch on
validation and on test images. The first `tuning` seeds are for choosing, all others for the final
comparison.

For each arm choose the rate with the highest validation accuracy after the **last** epoch, the mean
over the tuning seeds. Then read the test accuracy after the last epoch at that rate, of the final
seeds. Return a tuple `(rate of plain, rate of new, gain)`: the two rates as indices, counted
from 0, and the mean over the final seeds of (new − plain), to four digits behind the
point or more.

**Usual trap.** Whoever takes the best of many numbers takes the luckiest one: over epochs, over
seeds, over rates. Where you choose you must not report.
"""

HINTS = (
    "What may be chosen is one rate for each arm. Which images, which seeds and which epochs may "
    "have a say in it?",
    "validation[:, :, :tuning, -1].mean(-1) has shape (arm, rate). The largest of each row says "
    "which rate this arm takes; the two may differ.",
    "Report from `test` alone: test[arm, rate, tuning:, -1], at the rate that was chosen, the mean "
    "over its seeds.",
)


def case(title, rates, seeds, tuning, epochs, seed):
    """Noisy curves: known mistakes give answers of their own, as a gain of three decimals does."""
    rng = np.random.default_rng(seed)
    while True:
        level = 0.5 + 0.008 * rng.standard_normal((2, rates, 1, 1))
        rise = -0.3 * np.exp(-3 * np.arange(1, epochs + 1) / epochs)
        runs = level + rise + 0.02 * rng.standard_normal((2, rates, seeds, 1))
        both = [runs + 0.04 * rng.standard_normal((2, rates, seeds, epochs)) for _ in "vt"]
        arguments = {"validation": both[0], "test": both[1], "tuning": tuning}
        if _shows_rounding(float(fair(arguments)[2])) and _tells_all_apart(arguments):
            return Case(title, (arguments,))


def _shows_rounding(gain):
    return abs(gain) > 0.011 and abs(gain - round(gain, 3)) > 2e-4  # 1e-4 passes


def _tells_all_apart(arguments):
    gains = []
    for answer in (fair, *WRONG.values()):
        gain = float(answer(arguments)[2])
        if any(abs(gain - other) < 1e-4 for other in gains):
            return False
        gains.append(gain)
    return True


def fair(
    arguments,
    *,
    judge="validation",
    choose_seeds=lambda a: slice(a["tuning"]),
    choose=lambda curves: curves[..., -1].mean(-1),
    same=None,
    report="test",
    report_seeds=lambda a: slice(a["tuning"], None),
    value=lambda curves: curves[:, -1].mean(),
    sign=1,
):
    """The three numbers. The keywords let mistakes in.

    choose(curves (arm, rate, seed, epoch)) → (arm, rate); value(curves (seed, epoch)) → a number.
    same: the arms whose rate both take.
    """
    scores = choose(arguments[judge][:, :, choose_seeds(arguments)])
    if same is not None:
        scores = np.broadcast_to(scores[same].mean(0), scores.shape)
    rates = scores.argmax(1)
    seeds = report_seeds(arguments)
    plain, new = (value(arguments[report][arm, rates[arm], seeds]) for arm in (0, 1))
    return np.array(rates[0]), np.array(rates[1]), np.array(sign * (new - plain))


def _with(**slips):
    return lambda arguments: fair(arguments, **slips)


def _all(arguments):
    return slice(None)


def _best_ever(arguments):
    """The colleague's: the best number of each arm, over all there is."""
    best = arguments["test"].max((2, 3))
    rates = best.argmax(1)
    return np.array(rates[0]), np.array(rates[1]), np.array(best[1].max() - best[0].max())


def _stopped_early(arguments):
    """Each final run is read at the epoch that is best for it on validation images."""
    *rates, _ = fair(arguments)
    levels = []
    for arm, rate in enumerate(rates):
        validation, test = (arguments[name][arm, rate] for name in ("validation", "test"))
        epochs = validation.argmax(1)[:, None]
        levels.append(np.take_along_axis(test, epochs, 1)[arguments["tuning"] :].mean())
    return *rates, np.array(levels[1] - levels[0])


WRONG = {
    "best-ever": _best_ever,
    "chosen-on-test": _with(judge="test"),
    "chosen-on-test, final seeds": _with(
        judge="test", choose_seeds=lambda a: slice(a["tuning"], None)
    ),
    "chosen-on-final-seeds": _with(choose_seeds=lambda a: slice(a["tuning"], None)),
    "chosen-on-final-seeds, all": _with(choose_seeds=_all),
    "best-epoch": _with(value=lambda curves: curves.max(1).mean()),
    "best-epoch, choosing": _with(choose=lambda curves: curves.max(-1).mean(-1)),
    "best-epoch, both": _with(
        choose=lambda curves: curves.max(-1).mean(-1), value=lambda curves: curves.max(1).mean()
    ),
    "mean-of-epochs": _with(choose=lambda curves: curves.mean((-2, -1))),
    "best-seed": _with(choose=lambda curves: curves[..., -1].max(-1)),
    "one-rate": _with(same=[0]),
    "one-rate, new's": _with(same=[1]),
    "one-rate, of both": _with(same=[0, 1]),
    "stopped-early": _stopped_early,
    "last-seeds-for-tuning": _with(
        choose_seeds=lambda a: slice(-a["tuning"], None),
        report_seeds=lambda a: slice(-a["tuning"]),
    ),
    "seed-left-out": _with(report_seeds=lambda a: slice(a["tuning"] + 1, None)),
    "last-but-one": _with(value=lambda curves: curves[:, -2].mean()),
    "epochs-averaged": _with(value=lambda curves: curves.mean()),
    "all-seeds": _with(report_seeds=_all),
    "tuning-seeds": _with(report_seeds=lambda a: slice(a["tuning"])),
    "validation-reported": _with(report="validation"),
    "best-final-seed": _with(value=lambda curves: curves[:, -1].max()),
    "reversed": _with(sign=-1),
}

BESIDE = {  # which need not differ from all others in every case
    "last-seeds-for-tuning, exchanged": _with(
        choose_seeds=lambda a: slice(a["tuning"], None), report_seeds=lambda a: slice(a["tuning"])
    ),
}

ANSWER = Fixed(fair, ("rate of plain", "rate of new", "gain"), tolerance=1e-3, floor=0.1)
EXACT = replace(ANSWER, tolerance=1e-4)  # some mistakes are nearer to each other than that


def _levels(arguments):
    """The best mean validation accuracy of each arm in place of where it stands."""
    curves = arguments["validation"][:, :, : arguments["tuning"], -1].mean(-1).max(1)
    return np.array(curves[0]), np.array(curves[1]), fair(arguments)[2]


def _mistake(id, says, hint):
    """All slips whose name begins with the id."""
    slips = (WRONG | BESIDE).items()
    return Mistake(id, says, hint, tuple(w for name, w in slips if name.split(",")[0] == id))


MISTAKES = EXACT.diagnoses(
    Mistake(
        "from-one",
        "You count the rates from 1; count them from 0.",
        2,
        altered(fair, lambda each, a: each + 1, 0, 1),
        whole=True,
    ),
    Mistake(
        "levels-for-rates",
        "Where the two rates belong stand their accuracies. Which place has the largest?",
        2,
        _levels,
    ),
    _mistake(
        "best-ever",
        "It is the colleague's own comparison: the best number each arm ever had on test images.",
        1,
    ),
    _mistake(
        "chosen-on-test",
        "The rates are chosen on test images. What is chosen there looks better there than it is.",
        1,
    ),
    _mistake(
        "chosen-on-final-seeds",
        "Final seeds had a say in the choice of the rates. Only tuning seeds may.",
        1,
    ),
    _mistake(
        "best-epoch",
        "It takes the best epoch of a curve. The rules take the last one, whatever came before.",
        1,
    ),
    _mistake(
        "mean-of-epochs",
        "Other epochs have a say in the choice of the rates. The rules take the last one.",
        1,
    ),
    _mistake(
        "best-seed",
        "The rates are chosen by the best tuning seed. Their mean should decide.",
        2,
    ),
    _mistake(
        "one-rate",
        "Both arms take the same rate. Each has a right to its own.",
        2,
    ),
    _mistake(
        "stopped-early",
        "Each curve is read where it is best on validation images. The rules take the last epoch.",
        1,
    ),
    _mistake(
        "last-but-one",
        "It reads the last epoch but one. The last of n stands at index n − 1, or −1.",
        3,
    ),
    _mistake(
        "epochs-averaged",
        "Your gain is over all epochs. The rules take the last one.",
        3,
    ),
    _mistake(
        "last-seeds-for-tuning",
        "It takes the last seeds for tuning. The first `tuning` seeds are for choosing.",
        2,
    ),
    _mistake(
        "seed-left-out",
        "The first of the final seeds is left out. They begin at number `tuning`.",
        3,
    ),
    _mistake(
        "all-seeds",
        "Your gain is over all seeds. Tuning seeds were used up by choosing.",
        3,
    ),
    _mistake(
        "tuning-seeds",
        "Your gain is over the tuning seeds, which have chosen the rates.",
        3,
    ),
    _mistake(
        "validation-reported",
        "Your gain is that on validation images, which have chosen the rates.",
        3,
    ),
    _mistake(
        "best-final-seed",
        "Your gain is that of the best final seeds. Report the mean.",
        3,
    ),
    Mistake("percent", "Your gain is in percent.", 3, altered(fair, lambda each, a: 100 * each, 2)),
    _mistake("reversed", "Yours is plain − new; asked for is new − plain.", 3),
)
MISTAKES = (ANSWER.rounded(), *MISTAKES)


VISIBLE = (
    case("9 rates, 2 tuning seeds, 3 final ones", 9, 5, 2, 6, 75),
    case("8 rates, 3 tuning seeds, 4 final ones", 8, 7, 3, 8, 209),
    case("8 rates, 2 tuning seeds, 4 final ones", 8, 6, 2, 5, 16),
    case("7 rates, 2 tuning seeds, 5 final ones", 7, 7, 2, 10, 46),
)


QUESTION = Question(
    id="fair-choice",
    function="fair_gain",
    signature="fair_gain(validation, test, tuning)",
    lesson="05",
    points=4,
    minutes=25,
    difficulty=3,
    statement=STATEMENT,
    visible=VISIBLE,
    hidden=3,
    judge=ANSWER.judge,
    hints=HINTS,
    diagnoses=MISTAKES,
    tolerates="numbers or tensors, loops, numpy, a mean of differences or a difference of means",
)
