"""Records of a made-up study: every planned run, with accuracies that a test chooses."""

from dataclasses import replace

from benchmarks.study import PLAN
from minivit.recipes import LAPTOP, as_json
from minivit.records import Record, versions
from minivit.variants import vary


def made_up(accuracy, plan=PLAN):
    """A final record for each planned run; accuracy: a function of the Arm, a fraction."""
    return final(accuracy, dict.fromkeys(arm for question in plan for arm in question.runs()))


def final(accuracy, arms):
    """Final records of these arms, with their accuracy on test images."""
    return [_record(arm, accuracy(arm)) for arm in arms]


def tuning(accuracy, arms):
    """Tuning records of these arms, with their accuracy on validation images."""
    return [
        replace(_record(arm, accuracy(arm)), role="tuning", final_accuracy=None) for arm in arms
    ]


def _record(arm, accuracy):
    recipe = vary(LAPTOP, arm.variant, arm.learning_rate)
    epochs = [
        {
            "epoch": epoch,
            "train_loss": 1.0,
            "validation_accuracy": accuracy * epoch / recipe.training.epochs,
            "seconds": 1.0,
        }
        for epoch in range(1, recipe.training.epochs + 1)
    ]
    return Record(
        scale="laptop",
        base=arm.base,
        attention=arm.attention,
        variant=arm.variant,
        seed=arm.seed,
        role="final",
        learning_rate=recipe.training.learning_rate,
        recipe=as_json(recipe),
        data={"name": "made up", "digest": "0"},
        versions=versions(),
        device="none",
        commit="0" * 40,
        dirty=False,
        epochs=epochs,
        final_accuracy=accuracy,
    )
