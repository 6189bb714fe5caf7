"""What a run may change in a recipe, written as text, so that a record and a command can name it.

A variant is "name=value" pairs with commas between them: "heads=4", "positions=shuffled",
"subset=2250,epochs=40". The empty text changes nothing.
"""

import re
from dataclasses import fields, replace

import torch

from minivit.runtime import stream

MODEL = ("patch_size", "depth", "heads", "pool", "positions")
TRAINING = ("epochs", "batch_size", "learning_rate", "weight_decay", "clip_norm", "label_smoothing")
AUGMENT = ("flip", "crop", "cutout", "mixup")
# What no recipe holds: the network is changed once, after its initialization.
# Values of positions: the sin-cos table with its rows in random order, or minus their mean.
SHUFFLED, CENTRED = "shuffled", "centred"
# Factors on the patch embedding's weight and bias, on the table of positions, and on the logits of
# attention: on W_Q W_Kᵀ and on what the biases add to it.
START = ("patch_scale", "position_scale", "qk_scale")


def parse_variant(text):
    """Returns {name: value as text} of a variant. Raises ValueError that says what is accepted."""
    known = (*MODEL, *TRAINING, *AUGMENT, "subset", *START)
    # int() and float() read more than a record's name can hold: " 4", "1_000", other digits.
    if not re.fullmatch(r"[a-z0-9A-Z_=.,+-]*", text) or re.search(r"[0-9]_", text):
        raise ValueError(f"the variant is {text!r}; it must be of letters, digits and =.,+-")
    pairs = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if name not in known or not equals or not value or name in pairs:
            raise ValueError(
                f"{part!r} in the variant {text!r}; a variant is name=value, with commas between "
                f"several, each name once, of {', '.join(known)}"
            )
        pairs[name] = value
    return pairs


def vary(recipe, variant="", learning_rate=None):
    """The recipe with a variant's values in it, and the learning rate, where one is given.

    With another number of epochs, the warm-up keeps its share of them. Raises ValueError for a
    variant that `parse_variant` refuses or that the recipe, its model or its training does, and for
    a learning rate that is not the variant's own.
    """
    pairs = parse_variant(variant)
    _start_changes(pairs)
    if pairs.get("positions") in (SHUFFLED, CENTRED):
        if recipe.model.positions == "learned":
            raise ValueError(
                f"positions={pairs['positions']} changes a sin-cos table; the recipe has none"
            )
        pairs.pop("positions")
    training, model = recipe.training, recipe.model
    changes = _typed(pairs, TRAINING, training)
    if "epochs" in changes:
        changes["warmup_epochs"] = training.warmup_epochs * changes["epochs"] / training.epochs
    given = {} if learning_rate is None else {"learning_rate": float(learning_rate)}
    if given and changes.get("learning_rate", learning_rate) != learning_rate:
        raise ValueError(f"learning rate {learning_rate:g}: the variant {variant!r} has its own")
    augment = replace(training.augment, **_typed(pairs, AUGMENT, training.augment))
    subset = _number(int, "subset", pairs["subset"]) if "subset" in pairs else recipe.subset
    return replace(
        recipe,
        model=replace(model, **_typed(pairs, MODEL, model)),
        training=replace(training, augment=augment, **changes | given),
        subset=subset,
    )


@torch.no_grad()
def change_start_(model, variant, *, seed):
    """Changes an initialized ViT in place as the variant says; what is drawn depends on `seed`."""
    pairs = parse_variant(variant)
    patches = model.config.grid**2
    # A row for the class token, where there is one, comes first and stays.
    rows = model.pos_embed[:, -patches:]
    if pairs.get("positions") == SHUFFLED:
        order = torch.randperm(patches, generator=stream(seed, "positions"), device="cpu")
        rows.copy_(rows[:, order].clone())
    elif pairs.get("positions") == CENTRED:
        rows.sub_(rows.mean(1, keepdim=True))
    scales = _start_changes(pairs)
    for parameter in model.patch_embed.parameters():
        parameter.mul_(scales["patch_scale"])
    model.pos_embed.mul_(scales["position_scale"])
    for block in model.blocks:
        for rows in block.attn.qkv.parameters():
            rows[: 2 * model.config.dim].mul_(scales["qk_scale"] ** 0.5)  # W_Q's and W_K's
    return model


def _start_changes(pairs):
    scales = {name: _number(float, name, pairs.get(name, "1")) for name in START}
    for name, scale in scales.items():
        if not 0 < scale < float("inf"):
            raise ValueError(f"{name} is {scale}; it must be above 0 and finite")
    return scales


def _typed(pairs, names, holder):
    """The pairs with these names, each value of the type that the dataclass `holder` states.

    Not of the type of the present value: clip_norm may stand there as 1, and 0.5 is one, too.
    """
    types = {field.name: field.type for field in fields(holder)}
    return {name: _number(types[name], name, pairs[name]) for name in names if name in pairs}


def _number(kind, name, text):
    if kind is bool:
        kind = {"True": True, "False": False}.__getitem__
    try:
        return kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"{name}={text}: {text!r} is not a value of {name}") from None
