"""Variants: text in, another recipe or another start out, and nothing else changed."""

import copy
from dataclasses import asdict, replace

import pytest
import torch

from minivit.init import initialize_
from minivit.layers import attention_layers
from minivit.model import ViT, sincos_positions
from minivit.recipes import LAPTOP, SMOKE
from minivit.variants import change_start_, parse_variant, vary


def differing(a, b, prefix=""):
    """Dotted names of the fields in which two dataclass dictionaries differ."""
    names = set()
    for name in a:
        if isinstance(a[name], dict):
            names |= differing(a[name], b[name], f"{prefix}{name}.")
        elif a[name] != b[name]:
            names.add(prefix + name)
    return names


@pytest.mark.parametrize(
    "variant, changed",
    [
        ("", set()),
        ("heads=4", {"model.heads"}),
        ("depth=1", {"model.depth"}),
        ("learning_rate=0.002", {"training.learning_rate"}),
        ("label_smoothing=0.1", {"training.label_smoothing"}),
        ("pool=cls", {"model.pool"}),
        ("positions=learned", {"model.positions"}),
        ("positions=shuffled", set()),
        ("positions=centred", set()),
        ("patch_scale=0.5", set()),
        ("position_scale=0.5", set()),
        ("qk_scale=0.5", set()),
        ("batch_size=40,crop=1", {"training.batch_size", "training.augment.crop"}),
        ("flip=False", {"training.augment.flip"}),
        ("subset=100,epochs=4", {"subset", "training.epochs", "training.warmup_epochs"}),
    ],
)
def test_a_variant_changes_what_it_names_and_nothing_else(variant, changed):
    assert differing(asdict(SMOKE), asdict(vary(SMOKE, variant))) == changed


def test_values_have_the_types_that_a_recipe_has():
    varied = vary(LAPTOP, "heads=4,flip=False,weight_decay=0.3,epochs=12", learning_rate=3e-3)
    assert varied.model.heads == 4 and varied.training.augment.flip is False
    assert varied.training.weight_decay == 0.3 and varied.training.learning_rate == 3e-3
    whole = replace(SMOKE, training=replace(SMOKE.training))
    object.__setattr__(whole.training, "clip_norm", 1)  # past the type checks of tests
    assert vary(whole, "clip_norm=0.5").training.clip_norm == 0.5, "whatever stands there now"
    share = LAPTOP.training.warmup_epochs / LAPTOP.training.epochs
    assert varied.training.warmup_epochs / varied.training.epochs == pytest.approx(share)


def test_a_learning_rate_beside_a_variant_s_own_is_refused():
    assert vary(SMOKE, "learning_rate=0.002", 2e-3).training.learning_rate == 2e-3
    with pytest.raises(ValueError, match=r"learning rate 0\.003: the variant .* has its own"):
        vary(SMOKE, "learning_rate=0.002", 3e-3)


@pytest.mark.parametrize(
    "variant, sentence",
    [
        ("head=4", "'head=4' in the variant"),
        ("heads", "name=value"),
        ("heads=", "name=value"),
        ("heads=2,heads=4", "each name once"),
        ("heads= 4", "letters, digits"),
        ("heads=4, pool=cls", "letters, digits"),
        ("subset=1_00", "letters, digits"),
        ("heads=\u0664", "letters, digits"),
        ("heads=two", "'two' is not a value of heads"),
        ("subset=all", "'all' is not a value of subset"),
        ("flip=no", "'no' is not a value of flip"),
        ("heads=3", "dim 32 is not divisible by heads 3"),
        ("positions=random", "positions is 'random'"),
        ("positions=learned,patch_scale=-1", "patch_scale is -1.0"),
        ("patch_scale=nan", "patch_scale is nan"),
        ("patch_scale=2,position_scale=0", "position_scale is 0.0"),
    ],
)
def test_what_is_no_variant_is_a_sentence(variant, sentence):
    with pytest.raises(ValueError, match=sentence):
        vary(SMOKE, variant)


def start(variant, seed=0):
    model = ViT(vary(SMOKE, variant).model)
    initialize_(model, "torch_default", "mimetic", seed=seed)
    return change_start_(model, variant, seed=seed)


def changed_parameters(variant):
    pairs = zip(start("").named_parameters(), start(variant).parameters(), strict=True)
    return {name for (name, p), q in pairs if not torch.equal(p, q)}


def test_shuffled_positions_are_the_same_rows_in_another_order():
    assert changed_parameters("positions=shuffled") == {"pos_embed"}
    table = sincos_positions(SMOKE.model.grid, SMOKE.model.dim)
    shuffled = start("positions=shuffled").pos_embed[0]
    nearest = torch.cdist(shuffled, table).argmin(1)
    assert torch.equal(shuffled, table[nearest]) and len(set(nearest.tolist())) == len(table)
    # Few rows stay where they were: one is expected.
    assert (nearest == torch.arange(len(table))).sum() < 6
    again, other = start("positions=shuffled"), start("positions=shuffled", seed=1)
    assert torch.equal(again.pos_embed[0], shuffled)
    assert not torch.equal(other.pos_embed[0], shuffled)


def test_centred_positions_share_nothing_and_differ_as_before():
    assert changed_parameters("positions=centred") == {"pos_embed"}
    table, centred = (start(v).pos_embed[0] for v in ("", "positions=centred"))
    torch.testing.assert_close(centred.mean(0), torch.zeros(SMOKE.model.dim))
    between = [rows[:, None] - rows for rows in (table, centred)]
    torch.testing.assert_close(*between, atol=1e-6, rtol=0)
    large = start("positions=centred,position_scale=3").pos_embed[0]
    torch.testing.assert_close(large, 3 * centred)


@pytest.mark.parametrize("positions", ["shuffled", "centred"])
def test_the_class_token_keeps_its_own_row(positions):
    ours, usual = start(f"positions={positions},pool=cls"), start("pool=cls")
    torch.nn.init.normal_(usual.pos_embed[:, 0])
    again = change_start_(copy.deepcopy(usual), f"positions={positions}", seed=0)
    assert torch.equal(again.pos_embed[:, 0], usual.pos_embed[:, 0])
    assert torch.equal(again.pos_embed[:, 1:], ours.pos_embed[:, 1:])
    assert not torch.equal(ours.pos_embed, start("pool=cls").pos_embed)


def test_patch_scale_scales_what_the_patch_embedding_computes():
    names = {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert changed_parameters("patch_scale=0.25") == names
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole, quarter = (start(v).patch_embed(images) for v in ("", "patch_scale=0.25"))
    torch.testing.assert_close(quarter, whole / 4)


def test_position_scale_scales_the_table_and_goes_with_another_order():
    assert changed_parameters("position_scale=0.25") == {"pos_embed"}
    for order in ("", "positions=shuffled,"):
        small, usual = start(order + "position_scale=0.25"), start(order)
        torch.testing.assert_close(small.pos_embed, usual.pos_embed / 4)


def test_qk_scale_scales_logits_and_leaves_values_alone():
    def attention(variant):
        model, generator = ViT(SMOKE.model), torch.Generator().manual_seed(0)
        initialize_(model, "torch_default", "mimetic", seed=0)
        for block in model.blocks:  # biases start at 0, where no factor shows
            torch.nn.init.normal_(block.attn.qkv.bias, generator=generator)
        tokens = torch.randn(2, 5, SMOKE.model.dim, generator=generator)
        layers = attention_layers(change_start_(model, variant, seed=0))
        return [layer.logits(tokens) for layer in layers], model

    (usual, before), (wide, after) = attention(""), attention("qk_scale=4")
    for one, other in zip(usual, wide, strict=True):
        torch.testing.assert_close(other, 4 * one)
    dim = SMOKE.model.dim
    for one, other in zip(before.blocks, after.blocks, strict=True):
        for name, values in one.attn.named_parameters():
            kept = slice(2 * dim, None) if "qkv" in name else slice(None)  # W_V's rows, and W_proj
            assert torch.equal(other.attn.get_parameter(name)[kept], values[kept]), name
    assert changed_parameters("qk_scale=4") == {
        f"blocks.{i}.attn.qkv.weight" for i in range(SMOKE.model.depth)
    }


@pytest.mark.parametrize("positions", ["shuffled", "centred"])
def test_changing_a_table_that_starts_random_is_refused(positions):
    learned = vary(SMOKE, "positions=learned")
    with pytest.raises(ValueError, match=f"positions={positions} changes a sin-cos table; the rec"):
        vary(learned, f"positions={positions}")


def test_a_variant_is_a_dictionary_of_texts():
    assert parse_variant("heads=4,pool=cls") == {"heads": "4", "pool": "cls"}
    assert parse_variant("") == {}


def test_positions_are_as_small_as_the_protocol_says():
    """Random ones and the table × 0.04: alike over all entries, half between patches."""

    def sizes(variant):
        model = ViT(vary(LAPTOP, variant).model)
        initialize_(model, "torch_default", "plain", seed=0)
        rows = change_start_(model, variant, seed=0).pos_embed.detach()[0]
        return [round(x.item(), 2) for x in (rows.std(), (rows - rows.mean(0)).std())]

    assert sizes("positions=learned") == [0.02, 0.02]
    assert sizes("position_scale=0.04") == [0.02, 0.01]
