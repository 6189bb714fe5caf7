"""The words for variants, lengths and what was asked late, on the pages made from the records."""

from benchmarks.study import CENTRED, LOUD_CENTRED, ONLY_CENTRED, SCALED
from minivit.recipes import LAPTOP
from minivit.records import summarise
from minivit.variants import vary

ALL = 45_000  # training images: CIFAR-10's less those for validation
VARIANTS = {
    "": "as the recipe is: positions start as the sin-cos table and are learned",
    "positions=shuffled": "sin-cos positions in random order",
    "positions=learned": "learned positions that start random (standard deviation 0.02)",
    "position_scale=0.04": "sin-cos positions × 0.04, so as small as those",
    CENTRED: "sin-cos positions minus their mean over patches, rescaled to the table's spread",
    SCALED: "sin-cos positions × 1.86",
    ONLY_CENTRED: "sin-cos positions minus their mean over patches, not rescaled",
    "pool=cls": "class token",
    "heads=1": "1 head",
    "heads=4": "4 heads",
    "heads=8": "8 heads",
    "patch_scale=0.25": "patch embedding × 0.25",
    "patch_scale=4": "patch embedding × 4",
    LOUD_CENTRED: "patch embedding × 4, sin-cos positions minus their mean over patches",
}


# What had been seen when a statement was written, where that was not before the first final run:
# its own runs, some of them, or others (PROTOCOL.md).
SEEN = "(Asked after these runs were seen.)"
DURING = "(Asked while these runs were made.)"
HALF = "(Asked after mimetic's runs were seen.)"
NEAR = "(Asked after the runs with learned positions were seen.)"
LAST = "(Asked after all runs until then were seen.)"


def images(variant):
    """ "2,250 images (5 %)" for a variant of the data size."""
    count = vary(LAPTOP, variant).subset
    return f"{count:,} images ({100 * count / ALL:.0f} %)"


def length(variant):
    """ "6 epochs of 45,000 images (8,436 steps)" for a variant of the data size and of epochs."""
    return _length(vary(LAPTOP, variant))


def size(recipe):
    """ "d 192, 12 layers, 100 epochs of 45,000 images (8,700 steps)" for a recipe on all images."""
    return f"d {recipe.model.dim}, {recipe.model.depth} layers, {_length(recipe)}"


def _length(recipe):
    epochs, count = recipe.training.epochs, recipe.subset or ALL
    steps = epochs * (count // recipe.training.batch_size)
    return f"{epochs} epochs of {count:,} images ({steps:,} steps)"


def level(runs):
    """Test accuracies of runs in percent: "52.5 ± 0.4"."""
    found = summarise([100 * run.final_accuracy for run in runs])
    return f"{found.mean:.1f}" if found.n == 1 else f"{found.mean:.1f} ± {found.std:.1f}"


def when(time):
    """A TimeTo as a table's cell: its epoch, and how many of the runs came so far if not all."""
    if time.epoch is None:
        return "not reached"
    some = "" if time.reached == time.n else f" ({time.reached} of {time.n})"
    return f"{time.epoch:.1f}{some}"
