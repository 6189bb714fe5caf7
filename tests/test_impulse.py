"""Impulse initialization, judged by the attention maps that the network then computes.

Each check is a function of the module `minivit.impulse`, so that the same check can be given a
mutant: the module with one mistake written into it. Every mutant must fail at least one check.
"""

import copy
import inspect
import math
import types

import pytest
import torch
from models import tiny_vit
from torch import nn

import minivit.impulse
from minivit import ViT, ViTConfig, attention_layers, attention_maps, bases, mimetic_
from minivit.circuits import AttentionWeights, ov, qk
from minivit.compare import Arm
from minivit.init import initialize_
from minivit.model import sincos_positions

SINCOS = {"positions": "sincos_learned", "depth": 2}
SMALL = ViTConfig(dim=64, heads=4, **SINCOS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def started(impulse, config=SMALL, seed=0, base=bases.torch_default_, **options):
    model = base(ViT(config), generator=generator(99))
    return impulse.impulse_(model, generator=generator(seed), **options)


@torch.no_grad()
def maps_on_positions(model, size):
    """(layer, head, patch, patch): what every layer would do if it saw positions and no image."""
    bare, found = copy.deepcopy(model), []
    for parameter in bare.patch_embed.parameters():
        parameter.zero_()
    for block in model.blocks:
        bare.blocks = nn.ModuleList([block])
        found.append(attention_maps(bare, torch.zeros(1, 3, size, size))[0, 0])
    maps = torch.stack(found)
    patches = math.isqrt(maps.shape[-1]) ** 2
    return maps[..., -patches:, -patches:]


def mass(maps, offset):
    """The mean weight on the patch at `offset`, over the patches that have one there."""
    grid = math.isqrt(maps.shape[-1])
    picture = maps.unflatten(-1, (grid, grid)).unflatten(-3, (grid, grid))
    weights = [
        picture[..., row, column, row + offset[0], column + offset[1]]
        for row in range(grid)
        for column in range(grid)
        if 0 <= row + offset[0] < grid and 0 <= column + offset[1] < grid
    ]
    return torch.stack(weights).mean(0)


def window_masses(maps, window):
    """offset → mass (layer, head), for every offset of a window."""
    reach = range(-(window // 2), window // 2 + 1)
    return {(r, c): mass(maps, (r, c)) for r in reach for c in reach}


def offsets_of(maps, window=3):
    """The offset that each head gives most weight, a list for each layer."""
    masses = window_masses(maps, window)
    best = torch.stack(list(masses.values())).argmax(0)
    return [[list(masses)[i] for i in layer] for layer in best.tolist()]


CONFIGS = {
    "8 × 8, 4 heads": SMALL,
    "8 × 8, 8 heads of width 8": ViTConfig(dim=64, heads=8, **SINCOS),
    "8 × 8, 1 head": ViTConfig(dim=64, heads=1, **SINCOS),
    "ViT-Tiny": ViTConfig(dim=192, heads=3, **SINCOS),
    "16 × 16": ViTConfig(dim=96, heads=3, patch_size=2, **SINCOS),
    "class token": ViTConfig(dim=64, heads=2, pool="cls", **SINCOS),
    "learned positions": ViTConfig(dim=128, heads=2, depth=2),
}


def wide(class_token):
    """timm's ViT on images of 32 × 64, its table a corner of the square one's."""
    from timm.models.vision_transformer import VisionTransformer

    pool = {"class_token": class_token, "global_pool": "token" if class_token else "avg"}
    size = {"img_size": (32, 64), "patch_size": 4, "embed_dim": 64, "num_heads": 4, "depth": 1}
    model = VisionTransformer(**size, **pool, num_classes=10)
    table = sincos_positions(16, 64)[: 8 * 16]
    with torch.no_grad():
        model.pos_embed[:, -len(table) :] = table
    return model


# Checks: each takes the module minivit.impulse, or a mutant of it.


def check_each_head_looks_at_one_neighbour(impulse):
    """Chance would be 1 / patches. The neighbour gets the largest weight, at every patch inside."""
    for name, config in CONFIGS.items():
        maps = maps_on_positions(started(impulse, config), config.image_size)
        masses = torch.stack(list(window_masses(maps, 3).values()))
        assert masses.amax(0).min() > 0.33, (name, masses.amax(0))
        assert masses.sort(0).values[-2].max() < 0.25, name


def check_a_head_looks_where_it_is_told_to(impulse):
    model = bases.torch_default_(ViT(SMALL), generator=generator())
    places = impulse.normalized_places(model)
    for offset in ((0, 1), (1, 0), (-1, 1), (0, 0), (2, -1)):
        W_Q, W_K = impulse.impulse_factors(places, offset, 16)
        logits = 5**2 * (places @ W_Q) @ (places @ W_K).T / 16**0.5
        assert mass(logits.softmax(-1), offset) > 0.35, offset
    tiny = maps_on_positions(started(impulse, CONFIGS["ViT-Tiny"]), 32)
    assert torch.stack(list(window_masses(tiny, 3).values())).amax(0).min() > 0.8


def check_heads_and_layers_differ(impulse):
    for seed in range(3):
        for config in (SMALL, ViTConfig(dim=64, heads=8, depth=3, positions="sincos")):
            layers = offsets_of(maps_on_positions(started(impulse, config, seed), 32))
            assert all(len(set(offsets)) == config.heads for offsets in layers), layers
            assert any(offsets != layers[0] for offsets in layers[1:]), layers


def check_the_window(impulse):
    """In a window of five half of the offsets or more lie outside of three; never beyond two."""
    config = ViTConfig(dim=96, heads=4, depth=6, positions="sincos_learned")
    maps = maps_on_positions(started(impulse, config, window=5), 32)
    offsets = [offset for layer in offsets_of(maps, 7) for offset in layer]
    reach = [max(map(abs, offset)) for offset in offsets]
    assert max(reach) == 2 and {-2, 2} <= {part for offset in offsets for part in offset}
    one = started(impulse, window=1)
    assert {o for layer in offsets_of(maps_on_positions(one, 32)) for o in layer} == {(0, 0)}


def check_the_generator_decides(impulse):
    drawn = []
    for global_seed, seed in ((0, 1), (5, 1), (0, 2)):
        torch.manual_seed(global_seed)
        drawn.append(offsets_of(maps_on_positions(started(impulse, seed=seed), 32)))
    assert drawn[0] == drawn[1] != drawn[2]


def check_sizes_and_the_other_half_are_mimetics(impulse):
    ours, theirs = started(impulse), bases.torch_default_(ViT(SMALL), generator=generator(99))
    ours, theirs = (AttentionWeights.of(m) for m in (ours, mimetic_(theirs, generator=generator())))
    assert torch.equal(ov(ours), ov(theirs))
    for name in ("W_Q", "W_K"):
        ours_norm, norm = (torch.linalg.matrix_norm(getattr(w, name)) for w in (ours, theirs))
        assert torch.allclose(ours_norm, norm, rtol=1e-4)
    assert (qk(ours) - qk(theirs)).norm() > 0.5 * qk(theirs).norm()


def check_the_border_looks_at_the_border(impulse):
    S = impulse.shift_matrix(3, (0, 1))
    assert S.argmax(1).tolist() == [1, 2, 2, 4, 5, 5, 7, 8, 8] and S.sum() == 9
    assert impulse.shift_matrix(3, (-1, 0)).argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]


def check_a_grid_that_is_no_square(impulse):
    """8 × 16 patches: one neighbour again, counted in the model's rows, and nothing past a row."""
    for class_token in (True, False):
        model = impulse.impulse_(wide(class_token), generator=generator())
        weights, P = AttentionWeights.of(model), impulse.normalized_places(model)
        maps = (P @ qk(weights) @ P.T / weights.head_dim**0.5).softmax(-1)
        seen = maps.unflatten(-1, (8, 16)).unflatten(-3, (8, 16))[..., 1:-1, 1:-1, :, :]
        inner = [(row, column) for row in range(6) for column in range(14)]
        masses = [
            torch.stack([seen[..., r, c, r + down, c + right] for r, c in inner]).mean(0)
            for down in range(3)
            for right in range(3)
        ]
        assert torch.stack(masses).amax(0).min() > 0.33
    assert impulse.shift_matrix((2, 3), (0, 1)).argmax(1).tolist() == [1, 2, 2, 4, 5, 5]
    assert impulse.shift_matrix((2, 3), (1, 0)).argmax(1).tolist() == [3, 4, 5, 3, 4, 5]


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]

MUTANTS = {
    "towards the other side": [("R @ S @ R.T", "R @ S.T @ R.T")],
    "rows and columns exchanged": [
        ("row + offset[0]", "row + offset[1]"),
        ("column + offset[1]", "column + offset[0]"),
    ],
    "query and key exchanged": [("torch.cat([*W_Q, *W_K]", "torch.cat([*W_K, *W_Q]")],
    "one offset for all heads": [("impulse_factors(places, offset,",
                                  "impulse_factors(places, offsets[0],")],
    "the same offsets in every layer": [
        ("draw_offsets(layer.heads, window, generator)",
         "draw_offsets(layer.heads, window, torch.Generator().manual_seed(0))"),
    ],
    "offsets from the global stream": [("(window**2, generator=generator,", "(window**2,")],
    "heads may agree": [
        ("torch.randperm(window**2, generator=generator,",
         "torch.randint(window**2, (window**2,), generator=generator,"),
    ],
    "size missing": [("(W * size[head] for", "(W for")],
    "√head_dim missing": [("W * size[head]", "W * size[head] / W.shape[-1] ** 0.25")],
    "no ridge": [("n * content *", "1e-9 *")],
    "ridge without n": [("n * content *", "content *")],
    "no inverse": [("torch.linalg.solve(P.T @ P + ridge, P.T)", "P.T")],
    "not normalized": [("F.layer_norm(places, places.shape[1:], eps=0.0)", "places")],
    "heads interleaved": [
        ("torch.cat([*W_Q, *W_K], dim=1)",
         "torch.cat([W.permute(1, 2, 0).flatten(1) for W in (W_Q, W_K)], dim=1)"),
    ],
    "cut from the wrong end": [
        ("left[:, :head_dim], right[:head_dim].T", "left[:, -head_dim:], right[-head_dim:].T")
    ],
    "the class token's position taken for a patch's": [("rows[-patches:]", "rows[:patches]")],
    "nothing beyond the border": [(".clamp(0, rows - 1)\n    column", " % rows\n    column")],
    "OV left as it was": [("    mimetic_(model, generator=generator)",
                           "    mimetic_(model, ov=False, generator=generator)")],
    "a window from its corner": [("half = window // 2", "half = 0")],
    "the grid of the model not heard": [("offset, W_Q.shape[-1], grid=grid)",
                                         "offset, W_Q.shape[-1])")],
    "rows and columns of the grid exchanged": [("rows, columns = (grid, grid)",
                                                "columns, rows = (grid, grid)")],
    "rows counted by their number": [("columns * row + column", "rows * row + column")],
}  # fmt: skip


def mutant(edits):
    source = inspect.getsource(minivit.impulse)
    for old, new in edits:
        assert source.count(old) == 1, f"the mutation no longer fits: {old!r}"
        source = source.replace(old, new)
    module = types.ModuleType("mutant")
    exec(compile(source, "mutant", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_impulse(check):
    check(minivit.impulse)


@pytest.mark.integration
@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name):
    wrong = mutant(MUTANTS[name])
    for check in CHECKS:
        try:
            check(wrong)
        except (AssertionError, RuntimeError, IndexError, ValueError):
            return
    pytest.fail(f"no check notices the mistake: {name}")


@pytest.mark.parametrize("kind", ["minivit", "timm"])
def test_nothing_but_attention_weights_changes(kind):
    model = tiny_vit(kind, image_size=32)
    bases.torch_default_(model, generator=generator(99))
    before = copy.deepcopy(model.state_dict())
    assert minivit.impulse.impulse_(model, generator=generator()) is model
    weights = {id(t) for layer in attention_layers(model) for t in (layer.qkv, layer.proj)}
    for key, tensor in model.named_parameters():
        assert (id(tensor) in weights) != torch.equal(tensor, before[key]), key


def test_dtype_stays():
    model = bases.torch_default_(ViT(SMALL), generator=generator(99)).double()
    layer = attention_layers(minivit.impulse.impulse_(model, generator=generator()))[0]
    assert layer.qkv.dtype == torch.float64 and layer.qkv.requires_grad


def test_a_default_device_of_the_caller_changes_no_number():
    """Meta stands for a GPU, whose tensors do not mix with the CPU's either."""

    def weights(device):
        model = bases.torch_default_(ViT(SMALL), generator=generator(99))
        with torch.device(device):
            return minivit.impulse.impulse_(model, generator=generator()).state_dict()

    expected = weights("cpu")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights("meta").items())


def test_the_arm_shares_its_base_and_its_values_with_mimetic():
    arms = [initialize_(ViT(SMALL), "torch_default", arm, seed=3) for arm in ("impulse", "mimetic")]
    impulse, mimetic = (AttentionWeights.of(model) for model in arms)
    assert torch.equal(ov(impulse), ov(mimetic)) and not torch.equal(qk(impulse), qk(mimetic))
    names = {n for (n, a), b in zip(arms[0].named_parameters(), arms[1].parameters(), strict=True)
             if not torch.equal(a, b)}  # fmt: skip
    assert names == {"blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight"}
    assert Arm(base="torch_default", attention="impulse").attention == "impulse"


@pytest.mark.parametrize("window", [0, 2, 9, 3.0, -1])
def test_a_window_that_is_none(window):
    with pytest.raises(ValueError, match=f"window is {window}; it must be odd, from 1 to"):
        started(minivit.impulse, window=window)


def test_tables_that_are_none():
    with pytest.raises(ValueError, match="no table of positions called pos_embed"):
        minivit.impulse.impulse_(tiny_vit("torchvision"))
    fresh = ViT(ViTConfig(dim=32, heads=2, depth=1))
    with pytest.raises(ValueError, match="same position; give the model its base first"):
        minivit.impulse.impulse_(fresh)
    whole = ViT(ViTConfig(dim=32, heads=2, depth=1))
    with torch.no_grad():
        whole.pos_embed.normal_()[0, 3, 5] = float("nan")
    before = whole.blocks[0].attn.qkv.weight.clone()
    with pytest.raises(ValueError, match="numbers that are not finite"):
        minivit.impulse.impulse_(whole)
    assert torch.equal(whole.blocks[0].attn.qkv.weight, before)
    fresh.pos_embed = nn.Parameter(torch.randn(1, 7, 32))
    with pytest.raises(ValueError, match="7 rows; a grid of 8 × 8 and at most a class token"):
        minivit.impulse.impulse_(fresh)
    weight = fresh.blocks[0].attn.qkv.weight.clone()
    with pytest.raises(ValueError, match="7 rows; a grid of 8 × 8"):
        minivit.init.initialize_(fresh, "torch_default", "impulse", seed=0)
    assert torch.equal(fresh.blocks[0].attn.qkv.weight, weight), "nor has the base been written"
    assert torch.equal(weight, fresh.blocks[0].attn.qkv.weight)


def test_a_grid_that_the_model_does_not_say():
    """Then it is given; where the model says it, nothing else is taken."""
    model = wide(class_token=True)
    told = copy.deepcopy(minivit.impulse.impulse_(model, generator=generator()).state_dict())
    with pytest.raises(ValueError, match=r"grid is \(16, 8\), but the model's .* in \(8, 16\)"):
        minivit.impulse.impulse_(model, grid=(16, 8))
    del model.patch_embed.grid_size
    with pytest.raises(ValueError, match=r"129 rows; a square grid .* give grid=\(rows, columns\)"):
        minivit.impulse.impulse_(model)
    minivit.impulse.impulse_(model, grid=(8, 16), generator=generator())
    assert all(torch.equal(tensor, told[name]) for name, tensor in model.state_dict().items())
    for grid in (8, (8,), (8, 0), (8.0, 16), "8x"):
        with pytest.raises(ValueError, match=r"grid is .*; it must be \(rows, columns\)"):
            minivit.impulse.impulse_(model, grid=grid)
