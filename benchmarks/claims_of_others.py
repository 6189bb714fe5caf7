"""What the paper and its follow-ups claim, and the contrast of our runs that stands beside it.

The confidence mark is that of our source for *their* number: A, read at the source (paper,
abstract, README or code); B, quoted by somebody who read it, or in two sources that agree.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks import char_lm, full_size
from benchmarks.runs import Runs, contrast
from benchmarks.study import BETTER, CENTRED, DATA_SIZES, LONG, LOUDEST, ONLY_CENTRED
from benchmarks.wording import VARIANTS, images, length
from minivit import evidence
from minivit.evidence import plain_threshold, points, time_to
from minivit.figures import ARM_NAMES
from minivit.recipes import FULL
from minivit.records import select

PAPER = "Trockman & Kolter 2023 (2305.09828)"
WEAKER = "vit_trunc_normal"
SIZE = (
    "a question of ours; a norm-matched mode to ask it with exists in "
    "osiriszjq/structured_initialization"
)


class Claim(NamedTuple):
    """What somebody claims, and the contrast of ours that is positive if it is so here.

    theirs: their number in points, for the verdict; None where they give none for this contrast.
    ours: from Runs to a Summary; None where nothing of ours tests it. setting: what is contrasted;
    a function of Runs where it quotes parts of the contrast. relative: ours is a relative of what
    they did, and so no test of it.
    """

    text: str
    source: str
    mark: str
    quoted: str
    ours: Callable | None = None
    theirs: float | None = None
    setting: str | Callable = ""
    relative: bool = False


def _size(runs, base):
    size = points(runs.gain("norm_matched", base=base))
    return f"mimetic minus norm-matched, {base}; size alone, norm-matched minus plain: {size}"


def _positions_and_pooling(runs):
    """For plain: what sin-cos positions are worth, plus what mean pooling is worth."""
    positions, pooling = _forms(runs)
    return contrast([*positions[0], *pooling[0]], [*positions[1], *pooling[1]])


def _without_places(runs):
    gap = points(runs.excess("", "positions=shuffled"))
    return (
        "OV's sign was not turned with shuffled positions; of all of mimetic, gain with positions "
        f"in place minus gain with shuffled ones: {gap}"
    )


def _each_form(runs):
    positions, pooling = (points(contrast(*pair)) for pair in _forms(runs))
    return (
        "plain, each changed alone: sin-cos minus random positions at the start, "
        f"{positions}; plus mean pooling minus class token, {pooling}"
    )


def _forms(runs):
    """Two contrasts of plain: of the positions, of the pooling."""
    usual, other = runs("plain"), (runs("plain", v) for v in ("positions=learned", "pool=cls"))
    return [([usual], [each]) for each in other]


def _language(_runs):
    """What lesson 08's character model says: in bits, so it is no contrast of points."""
    final = char_lm.records(char_lm.FINAL, "final")
    plain, said = select(final, attention="plain"), []
    for arm in ("mimetic", "norm_matched"):
        own = select(final, attention=arm)
        apart = evidence.contrast([own], [plain], value=char_lm.test_bits)
        if apart is None:
            return "not in points: lesson 08 measures a small character model, in bits"
        numbers = f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}], n = {apart.n}"
        said.append(f"{ARM_NAMES[arm]} minus plain {numbers.replace('-', '−')}")
    return (
        "not in points: lesson 08's small character model, in bits a character, fewer are better: "
        + "; ".join(said)
    )


def _epochs(runs):
    """In how many epochs mimetic and plain come as far as plain does on average."""
    threshold = plain_threshold(runs("plain"))
    said = []
    for arm in ("mimetic", "plain"):
        when = time_to(runs(arm), threshold)
        average = "" if when.epoch is None else f" after {when.epoch:.1f} epochs on average"
        said.append(f"{arm} in {when.reached} of {when.n} runs{average}")
    return (
        f"not in points: plain's mean last validation accuracy, {100 * threshold:.1f} %, is "
        f"reached by {'; by '.join(said)}"
    )


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
        lambda runs: runs.gain(base=WEAKER),
        None,
        f"mimetic minus plain, {WEAKER}",
    ),
    Claim(
        "The same",
        f"{PAPER}, abstract",
        "A",
        "over 5 points",
        full_size.gain,
        5.0,
        f"mimetic minus plain, {BETTER}, scale `full`: ViT-Tiny, {FULL.training.epochs} epochs; "
        "asked after these runs were seen, no rate tuned",
    ),
    Claim("It lets a ViT train faster", f"{PAPER}, abstract", "A", "no number", setting=_epochs),
    *(
        Claim(
            f"It raises accuracy, too, {words}",
            "a question of ours",
            "–",
            "no number",
            partial(Runs.gain, variant=variant),
            None,
            f"mimetic minus plain, {BETTER}",
        )
        for variant, words in {
            LOUDEST["plain"]: f"with {VARIANTS[LOUDEST['plain']]} in both",
            LONG: f"after {length(LONG)}",
            ONLY_CENTRED: f"with {VARIANTS[ONLY_CENTRED]}",
            CENTRED: f"with {VARIANTS[CENTRED]}",
            "positions=learned": f"with {VARIANTS['positions=learned']}",
        }.items()
    ),
    Claim(
        "The structure counts, at the same size of the weights",
        SIZE,
        "–",
        "no number",
        lambda runs: runs.gain("mimetic", "norm_matched"),
        None,
        lambda runs: _size(runs, BETTER),
    ),
    Claim(
        "The same",
        SIZE,
        "–",
        "no number",
        lambda runs: runs.gain("mimetic", "norm_matched", base=WEAKER),
        None,
        lambda runs: _size(runs, WEAKER),
    ),
    Claim(
        "It raises accuracy on ImageNet-1k",
        f"{PAPER}, abstract",
        "A",
        "over 4 points",
    ),
    Claim(
        "The same, ViT-B, 300 epochs",
        "Procedural core (2609.37631)",
        "B",
        "77.6 → 79.5 %",
    ),
    Claim(
        "It almost closes the gap between untrained and pretrained ViTs on small data",
        "Trockman, thesis CMU-CS-25-114, abstract",
        "A",
        "no number",
        setting="lesson 06 asks for the share of that gap, on a few images, in the learner's runs",
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
        setting=_language,
    ),
    Claim(
        "−I in the value path alone saves steps in a language model's training",
        "modded-nanogpt, pull request 214",
        "A",
        "1,575 → 1,555 steps",
    ),
    Claim(
        "Mimetic as a whole does slightly worse in a language model",
        "parameter golf, a log (one seed, 200 steps)",
        "A",
        "2.4295 → 2.4360 bits a byte, fewer are better",
    ),
    Claim(
        "The gain is larger on little data",
        "Cornell CS4782 reproduction of 2505.19985",
        "A",
        "+6.4 on 10 %, +2.9 on all of CIFAR-10, best epochs",
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
        "CIFAR-10: 92.47 against mimetic's 91.99 %, best epochs",
        lambda runs: runs.gain("impulse", "mimetic"),
        0.48,
        f"impulse minus mimetic, {BETTER}; our impulses are not made as theirs",
        relative=True,
    ),
    Claim(
        "The same",
        "Zheng, Li & Lucey (2404.01139)",
        "B",
        "CIFAR-10, ViT-Tiny: 91.62 against mimetic's 91.16 %",
        lambda runs: runs.gain("impulse", "mimetic"),
        0.46,
        f"impulse minus mimetic, {BETTER}; our impulses are not made as theirs",
        relative=True,
    ),
    Claim(
        "Mean pooling and sin-cos positions alone raise a plain ViT",
        "Zheng, Li & Lucey (2404.01139), quoted in a review",
        "B",
        "81.23 → 85.30 %, both at once, from class token and learned positions",
        _positions_and_pooling,
        4.07,
        _each_form,
    ),
    Claim(
        "The sign of OV has little effect without positional structure; both together matter",
        "Turan, Abel & Ovsjanikov (2609.37921), appendix K.4.1",
        "A",
        "no number for this contrast",
        setting=_without_places,
    ),
    Claim(
        "A multiple of +I in the value path works as well as mimetic, or a little better",
        "Saratchandran & Lucey, ICLR 2026 (V = +I)",
        "B",
        "CIFAR-100: 75.3 against mimetic's 75.0 %",
        lambda runs: runs.gain("ov_flipped", "mimetic"),
        0.3,
        f"OV flipped to +I minus mimetic, {BETTER}; our W_Q, W_K, V and W_proj are not theirs",
        relative=True,
    ),
    Claim(
        "State-space layers that begin as linear attention copy and recall better",
        "2410.11135, abstract",
        "A",
        "no number",
    ),
    Claim(
        "Weights selected from a larger pretrained ViT raise a small one",
        "2311.18823",
        "A",
        "CIFAR-100: 72.4 → 81.4 %",
    ),
)
