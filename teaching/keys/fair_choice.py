"""Key of fair-choice."""

from functools import partial

import numpy as np
import torch

from minivit.checks.questions.fair_choice import QUESTION, case
from teaching.keys.key import Key, Mutant


def fair_gain(validation, test, tuning):
    plain, new = validation[:, :, :tuning, -1].mean(-1).argmax(-1)
    final = test[:, :, tuning:, -1]
    return plain, new, (final[1, new] - final[0, plain]).mean()


# Correct, and different.


def by_loops(validation, test, tuning):
    chosen, levels = [], []
    for arm in range(2):
        best = None
        for rate in range(validation.shape[1]):
            runs = [validation[arm, rate, seed, -1].item() for seed in range(tuning)]
            score = sum(runs) / len(runs)
            if best is None or score > best:
                best, own = score, rate
        chosen.append(own)
        runs = [test[arm, own, seed, -1].item() for seed in range(tuning, test.shape[2])]
        levels.append(sum(runs) / len(runs))
    return chosen[0], chosen[1], levels[1] - levels[0]


def in_numpy(validation, test, tuning):
    scores = validation.numpy().astype(np.float64)[..., -1][..., :tuning].sum(-1)
    rates = np.argmax(scores, axis=1)
    final = test.numpy()[[0, 1], rates][:, tuning:, -1].mean(1)
    return rates[0], rates[1], np.float32(final[1] - final[0])


def by_sorting(validation, test, tuning):
    order = validation.double().select(3, -1).narrow(2, 0, tuning).mean(2).argsort(1)
    rates = order[:, -1]
    levels = torch.stack([test.double()[arm, rates[arm], tuning:, -1] for arm in (0, 1)])
    return [rates[0].float(), rates[1].float(), levels.diff(dim=0).mean()]


# Wrong.


def variant(
    validation,
    test,
    tuning,
    *,
    images="validation",
    seeds="tuning",
    score=lambda curves: curves[..., -1].mean(-1),
    share=None,
    level=lambda curves: curves[:, -1].mean(),
    over="final",
    reported="test",
):
    """The reference with one step replaced."""
    curves = {"validation": validation, "test": test}
    spans = {"tuning": slice(tuning), "final": slice(tuning, None), "all": slice(None)}
    scores = score(curves[images][:, :, spans[seeds]])
    if share is not None:
        scores = share(scores).expand(2, -1)
    rates = scores.argmax(1)
    levels = [level(curves[reported][arm, rates[arm], spans[over]]) for arm in (0, 1)]
    return rates[0], rates[1], levels[1] - levels[0]


def best_of_epochs(curves):
    return curves.amax(-1).mean(-1)


def best_ever(validation, test, tuning):
    best = test.amax((2, 3))
    return *best.argmax(1), best[1].max() - best[0].max()


def reversed_gain(validation, test, tuning):
    plain, new, gain = fair_gain(validation, test, tuning)
    return plain, new, -gain


def gain_in_percent(validation, test, tuning):
    plain, new, gain = fair_gain(validation, test, tuning)
    return plain, new, 100 * gain


def counted_from_one(validation, test, tuning):
    plain, new, gain = fair_gain(validation, test, tuning)
    return plain + 1, new + 1, gain


def gain_alone(validation, test, tuning):
    return fair_gain(validation, test, tuning)[2]


def gain_of_each_seed(validation, test, tuning):
    plain, new, _ = fair_gain(validation, test, tuning)
    return plain, new, test[1, new, tuning:, -1] - test[0, plain, tuning:, -1]


def forgets_a_seed(validation, test, tuning):
    plain, new, _ = fair_gain(validation, test, tuning)
    final = test[:, :, tuning + 1 :, -1]
    return plain, new, (final[1, new] - final[0, plain]).mean()


def last_seeds_tune(validation, test, tuning):
    """The seeds in reverse: the last of them choose."""
    return fair_gain(validation.flip(2), test.flip(2), tuning)


def stops_early(validation, test, tuning):
    plain, new, _ = fair_gain(validation, test, tuning)
    levels = []
    for arm, rate in enumerate((plain, new)):
        epochs = validation[arm, rate, tuning:].argmax(1, keepdim=True)
        levels.append(test[arm, rate, tuning:].gather(1, epochs).mean())
    return plain, new, levels[1] - levels[0]


def levels_for_rates(validation, test, tuning):
    best = validation[:, :, :tuning, -1].mean(-1).amax(1)
    return best[0], best[1], fair_gain(validation, test, tuning)[2]


def last_but_one(validation, test, tuning):
    """The last epoch but one."""
    plain, new, _ = fair_gain(validation, test, tuning)
    final = test[:, :, tuning:, -2]
    return plain, new, (final[1, new] - final[0, plain]).mean()


def in_percent(validation, test, tuning):
    validation *= 100
    test *= 100
    return fair_gain(validation, test, tuning)


def rounds(validation, test, tuning):
    plain, new, gain = fair_gain(validation, test, tuning)
    return plain, new, gain.mul(1000).round().div(1000)


def hidden(rng):
    """Other numbers of rates, seeds and epochs."""
    cases = []
    for _ in range(QUESTION.hidden):
        rates, tuning, final, epochs = (
            int(rng.integers(*ends)) for ends in ((8, 11), (2, 4), (3, 6), (5, 11))
        )
        title = f"{rates} rates, {tuning} tuning seeds, {final} final ones"
        seed = int(rng.integers(2**32))
        cases.append(case(title, rates, tuning + final, tuning, epochs, seed))
    return tuple(cases)


KEY = Key(
    question=QUESTION,
    reference=fair_gain,
    hidden=hidden,
    alternatives={
        "loops and plain numbers": by_loops,
        "numpy, sums for means": in_numpy,
        "sorted, float64": by_sorting,
    },
    mutants=(
        Mutant("three decimals", rounds, "rounded"),
        Mutant("the colleague's own", best_ever, "best-ever"),
        Mutant("chosen on test images", partial(variant, images="test"), "chosen-on-test"),
        Mutant(
            "chosen on test images of the final seeds",
            partial(variant, images="test", seeds="final"),
            "chosen-on-test",
        ),
        Mutant("chosen by all seeds", partial(variant, seeds="all"), "chosen-on-final-seeds"),
        Mutant("the best epoch", partial(variant, level=best_of_epochs), "best-epoch"),
        Mutant("the best epoch chooses", partial(variant, score=best_of_epochs), "best-epoch"),
        Mutant(
            "the mean over epochs",
            partial(variant, score=lambda curves: curves.mean((-2, -1))),
            "mean-of-epochs",
        ),
        Mutant(
            "the best tuning seed",
            partial(variant, score=lambda curves: curves[..., -1].amax(-1)),
            "best-seed",
        ),
        Mutant("plain's rate for both", partial(variant, share=lambda s: s[:1]), "one-rate"),
        Mutant("new's rate for both", partial(variant, share=lambda s: s[1:]), "one-rate"),
        Mutant(
            "one rate for both",
            partial(variant, share=lambda s: s.mean(0, keepdim=True)),
            "one-rate",
        ),
        Mutant("all seeds reported", partial(variant, over="all"), "all-seeds"),
        Mutant("tuning seeds reported", partial(variant, over="tuning"), "tuning-seeds"),
        Mutant(
            "validation reported", partial(variant, reported="validation"), "validation-reported"
        ),
        Mutant(
            "the best final seed",
            partial(variant, level=lambda curves: curves[:, -1].max()),
            "best-final-seed",
        ),
        Mutant("percent", gain_in_percent, "percent"),
        Mutant("plain − new", reversed_gain, "reversed"),
        Mutant("rates counted from 1", counted_from_one, "from-one"),
        Mutant("the gain alone", gain_alone, "kind"),
        Mutant("the gain of each seed", gain_of_each_seed, "shape"),
        Mutant("a final seed left out", forgets_a_seed, "seed-left-out"),
        Mutant("the last seeds for tuning", last_seeds_tune, "last-seeds-for-tuning"),
        Mutant("the epoch from validation", stops_early, "stopped-early"),
        Mutant(
            "the mean over epochs reported", partial(variant, level=torch.mean), "epochs-averaged"
        ),
        Mutant(
            "final seeds choose, tuning seeds report",
            partial(variant, seeds="final", over="tuning"),
            "last-seeds-for-tuning",
        ),
        Mutant("accuracies for rates", levels_for_rates, "levels-for-rates"),
        Mutant("the last epoch but one", last_but_one, "last-but-one"),
        Mutant("percent, in place", in_percent, "untouched"),
    ),
)
