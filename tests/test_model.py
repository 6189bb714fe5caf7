"""The ViT: what it must compute, and that timm's and torchvision's ViT compute the same."""

import dataclasses
import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import tiny_vit

from minivit.bases import vit_trunc_normal_
from minivit.model import (
    VIT_BASE,
    VIT_SMALL,
    VIT_TINY,
    Attention,
    PatchEmbed,
    ViT,
    ViTConfig,
    sincos_positions,
)
from minivit.saving import load_model, save_model, with_weights
from minivit.storage import read_tensors, write_tensors

SMALL = ViTConfig(image_size=16, patch_size=4, dim=32, depth=2, heads=4)


def model_of(**changes):
    """A small model in which nothing is zero, so that a dropped term shows."""
    model = ViT(dataclasses.replace(SMALL, **changes)).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
    return model


def images_of(model, n=3, seed=1):
    c = model.config
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, c.channels, c.image_size, c.image_size, generator=g)


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("positions", ["learned", "sincos", "sincos_learned"])
def test_an_image_does_not_see_the_rest_of_its_batch(pool, positions):
    model = model_of(pool=pool, positions=positions)
    images = images_of(model)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(model(images), alone, atol=1e-5)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_patches_may_be_exchanged_only_without_positions(pool):
    model = model_of(pool=pool)
    images = images_of(model)
    swapped = images.clone()
    swapped[:, :, :4, :4], swapped[:, :, 8:12, 4:8] = (
        images[:, :, 8:12, 4:8],
        images[:, :, :4, :4],
    )
    assert not torch.allclose(model(images), model(swapped), atol=1e-3)
    with torch.no_grad():
        model.pos_embed.zero_()
    assert torch.allclose(model(images), model(swapped), atol=1e-5)


def test_attention_is_the_written_out_softmax():
    attention = Attention(SMALL).double()
    x = torch.randn(2, 5, 32, dtype=torch.float64)
    W_Q, W_K, W_V = attention.qkv.weight.T.chunk(3, dim=1)
    b_Q, b_K, b_V = attention.qkv.bias.chunk(3)
    outputs = []
    for h in range(4):
        part = slice(8 * h, 8 * h + 8)
        query, key, value = (
            x @ W[:, part] + b[part] for W, b in ((W_Q, b_Q), (W_K, b_K), (W_V, b_V))
        )
        outputs.append((query @ key.transpose(1, 2) / 8**0.5).softmax(-1) @ value)
    expected = torch.cat(outputs, dim=2) @ attention.proj.weight.T + attention.proj.bias
    assert torch.allclose(attention(x), expected, atol=1e-12)


def test_patches_are_the_convolution():
    patches = PatchEmbed(SMALL).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = patches.proj(images).flatten(2).transpose(1, 2)
    assert torch.allclose(patches(images), expected, atol=1e-12)


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("sizes", [(32, 2, 1, 16, 4), (48, 3, 6, 32, 8), (64, 4, 8, 24, 4)])
def test_logits_equal_timms(pool, sizes):
    from timm.models.vision_transformer import VisionTransformer

    dim, depth, heads, image_size, patch_size = sizes
    model = model_of(
        pool=pool, dim=dim, depth=depth, heads=heads, image_size=image_size, patch_size=patch_size
    )
    theirs = VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        num_classes=10,
        class_token=pool == "cls",
        global_pool="token" if pool == "cls" else "avg",
        fc_norm=False,
    ).eval()
    theirs.load_state_dict(model.state_dict())
    # At tokens of usual size no logit tells 1e-6 from torch's own 1e-5.
    norms = [[m.eps for m in v.modules() if hasattr(m, "eps")] for v in (model, theirs)]
    assert norms[0] == norms[1] == [1e-6] * (2 * depth + 1)
    images = images_of(model)
    with torch.no_grad():
        assert torch.allclose(model(images), theirs(images), atol=1e-4)


def test_parameter_count_is_the_closed_form():
    for config in (VIT_TINY, VIT_SMALL, VIT_BASE, SMALL):
        d, hidden = config.dim, config.hidden
        block = 4 * d + (d * 3 * d + 3 * d) + (d * d + d) + (2 * d * hidden + hidden + d)
        patch = d * config.channels * config.patch_size**2 + d
        tokens = (config.tokens + (config.pool == "cls")) * d
        head = (d + 1) * config.classes
        expected = patch + tokens + config.depth * block + 2 * d + head
        with torch.device("meta"):
            assert sum(p.numel() for p in ViT(config).parameters()) == expected


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_every_parameter_has_a_gradient(pool):
    model = model_of(pool=pool)
    F.cross_entropy(model(images_of(model)), torch.tensor([1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_it_can_learn_32_images_by_heart():
    model = vit_trunc_normal_(ViT(SMALL), generator=torch.Generator().manual_seed(0))
    images, labels = images_of(model, n=32), torch.arange(32) % 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_sincos_inner_products_depend_on_distance_alone_and_fall_with_it():
    table = sincos_positions(8, 64).double()
    gram = (table @ table.T).unflatten(0, (8, 8)).unflatten(2, (8, 8))  # (row, col, row, col)
    for row, col in ((0, 0), (3, 2), (5, 7)):
        for down, right in ((0, 1), (1, 0), (2, 2)):
            a = gram[row, col, (row + down) % 8, (col + right) % 8]
            if row + down < 8 and col + right < 8:
                assert math.isclose(a, gram[0, 0, down, right], rel_tol=1e-6)
    assert gram[0, 0, 0, 0] > gram[0, 0, 0, 1] > gram[0, 0, 0, 2]
    assert math.isclose(gram[0, 0, 0, 1], gram[0, 0, 1, 0], rel_tol=1e-6)
    assert math.isclose(gram[2, 3, 2, 3], 32, rel_tol=1e-6)


def test_a_sincos_table_of_a_rectangle_is_a_part_of_the_squares():
    whole = sincos_positions(5, 16).unflatten(0, (5, 5))
    assert torch.equal(sincos_positions((2, 5), 16), whole[:2].flatten(0, 1))
    assert torch.equal(sincos_positions((5, 3), 16), whole[:, :3].flatten(0, 1))


@pytest.mark.parametrize("grid", [14.0, (2, 0), (2, 2, 2), 0, True, "4"])
def test_a_grid_of_positions_that_is_none_is_named(grid):
    with pytest.raises(ValueError, match=r"grid is .*; it must be a whole number of patches, or "):
        inspect.unwrap(sincos_positions)(grid, 16)


def test_the_sincos_table_written_out_and_the_row_of_the_class_token():
    """Any order of its columns has the inner products above; records need this one."""
    for patch, row in enumerate(sincos_positions(3, 16)):
        waves = [10000 ** (-i / 4) for i in range(4)]
        x, y = ([place * wave for wave in waves] for place in (patch % 3, patch // 3))
        parts = [f(angle) for angles in (x, y) for f in (math.sin, math.cos) for angle in angles]
        assert torch.allclose(row, torch.tensor(parts), atol=1e-6)
    table = ViT(dataclasses.replace(SMALL, pool="cls", positions="sincos")).pos_embed[0]
    assert not table[0].any() and torch.equal(table[1:], sincos_positions(4, 32))


def test_sincos_positions_are_fixed_or_trained_as_asked():
    fixed, trained = model_of(positions="sincos"), model_of(positions="sincos_learned")
    assert "pos_embed" not in dict(fixed.named_parameters())
    assert "pos_embed" in dict(trained.named_parameters())
    assert torch.equal(fixed.pos_embed[0], sincos_positions(4, 32))


@pytest.mark.parametrize("positions", ["learned", "sincos", "sincos_learned"])
def test_a_saved_model_comes_back_the_same(tmp_path, positions):
    model = model_of(pool="cls", positions=positions)
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == model.config and not again.training
    assert torch.equal(again(images_of(model)), model(images_of(model)))


def test_a_model_of_another_library_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="Linear is not minivit's ViT; keep its state_dict"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_fixed_positions_that_were_changed_are_not_lost_in_silence(tmp_path):
    path = tmp_path / "model.safetensors"
    fixed, learned = model_of(positions="sincos"), model_of(positions="sincos_learned")
    for model in (fixed, learned):
        model.pos_embed.data.mul_(0.5)
    with pytest.raises(ValueError, match="fixed positions were changed"):
        save_model(fixed, path)
    assert not list(tmp_path.iterdir())
    save_model(learned, path)
    assert torch.equal(load_model(path).pos_embed, learned.pos_embed)
    save_model(model_of(positions="sincos").bfloat16(), path)  # rounded with the rest, not changed


def test_a_damaged_or_foreign_model_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(model_of(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_model(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="digest does not match"):
        load_model(path)
    other = model_of(dim=16).state_dict()
    write_tensors(path, other, {"config": dataclasses.asdict(SMALL)})
    with pytest.raises(ValueError, match="not a model that save_model wrote") as caught:
        load_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    write_tensors(path, other, {"config": dataclasses.asdict(SMALL) | {"heads": 5}})
    with pytest.raises(ValueError, match=r"model\.safetensors: .*divisible by heads 5"):
        load_model(path)
    with pytest.raises(ValueError, match="no such file"):
        load_model(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"patch_size": 5}, r"patch_size 5 does not divide image_size 16; \[1, 2, 4, 8, 16\] do"),
        # Not a second more than for a size of pictures: a file may say anything.
        ({"image_size": 10**30, "patch_size": 7}, "patch_size 7 does not divide image_size 1000"),
        ({"heads": 5}, "dim 32 is not divisible by heads 5"),
        ({"dim": 30, "heads": 3, "positions": "sincos"}, "not divisible by 4"),
        ({"pool": "max"}, "pool is 'max'"),
        ({"positions": "rotary"}, "positions is 'rotary'"),
        ({"depth": 0}, "depth is 0"),
        ({"channels": -3}, "channels is -3; it must be a whole number"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is nan"),
        ({"mlp_ratio": 0.0}, "mlp_ratio is 0.0; dim × mlp_ratio must be at least 1"),
        ({"mlp_ratio": 10**400}, "mlp_ratio is 1000.* below a million"),
        ({"norm_eps": -1e-6}, "norm_eps is -1e-06; it must be at least 0"),
        ({"depth": True}, "depth is True; it must be a whole number"),
        ({"mlp_ratio": "4"}, "mlp_ratio is '4'; it must be a number"),
        ({"mlp_ratio": np.float32(4)}, "mlp_ratio is .*; it must be a number"),
        ({"norm_eps": None}, "norm_eps is None; it must be a number"),
        ({"qkv_bias": "no"}, "qkv_bias is 'no'; it must be True or False"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, sentence):
    config = dataclasses.replace(SMALL)
    for name, value in change.items():
        object.__setattr__(config, name, value)  # past the type checks, which run in tests only
    with pytest.raises(ValueError, match=sentence):
        config.__post_init__()


def test_a_model_on_meta_says_the_shape_of_its_answer():
    with torch.device("meta"):
        assert ViT(SMALL)(torch.empty(2, 3, 16, 16)).shape == (2, 10)


def test_a_compiled_model_is_saved_as_the_one_inside(tmp_path):
    model, path = model_of(), tmp_path / "model.safetensors"
    save_model(torch.compile(model, backend="eager"), path)
    again = load_model(path)
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


def test_a_model_with_a_compiled_block_is_saved_as_the_one_inside(tmp_path):
    model, path = model_of(), tmp_path / "model.safetensors"
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    save_model(model, path)
    again = load_model(path).state_dict()
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_a_model_of_inference_mode_is_saved(tmp_path):
    path, again = tmp_path / "model.safetensors", tmp_path / "again.safetensors"
    save_model(model_of(), path)
    with torch.inference_mode():
        model = load_model(path)
    save_model(model, again)
    first, second = read_tensors(path)[0], read_tensors(again)[0]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    path = tmp_path / "model.safetensors"
    other_head, tied = model_of(), model_of()
    other_head.head = torch.nn.Linear(SMALL.dim, 7)
    with pytest.raises(ValueError, match=r"was changed after it was made .*head.weight"):
        save_model(other_head, path)
    tied.blocks[1].attn.qkv.weight = tied.blocks[0].attn.qkv.weight
    with pytest.raises(ValueError, match=r"one in memory, as tied weights are.*attn.qkv.weight"):
        save_model(tied, path)
    assert not list(tmp_path.iterdir())


def test_a_default_device_of_the_caller_is_not_that_of_a_loaded_model(tmp_path):
    """Meta stands for a GPU."""
    model, path = model_of(), tmp_path / "model.safetensors"
    save_model(model, path)
    with torch.device("meta"):
        again = load_model(path)
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


def test_a_file_can_not_ask_for_a_table_of_any_size():
    """A fixed table is not in the file: only its configuration says how large it is."""
    config = dataclasses.replace(SMALL, positions="sincos")
    weights = ViT(config).state_dict()
    assert with_weights(config, weights).config == config
    with pytest.raises(ValueError, match="66049 tokens of an image; at most 65536"):
        with_weights(dataclasses.replace(config, image_size=4 * 257), weights)


def test_every_hidden_width_can_be_asked_for_by_its_ratio():
    """A file tells the width; the ratio that makes it is no round number."""
    for dim, hidden in ((11, 15), (13, 63), (19, 53), (192, 768), (64, 1), (3, 5)):
        config = ViTConfig(dim=dim, heads=1, mlp_ratio=hidden / dim)
        assert config.hidden == hidden, (dim, hidden)


def test_images_of_the_wrong_kind_are_refused():
    model = model_of()
    with pytest.raises(ValueError, match=r"torch\.uint8; scale them first"):
        model(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="channels come last"):
        model(torch.zeros(2, 16, 16, 3))
    with pytest.raises(ValueError, match="32, 32"):
        model(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"torch\.float64, .*weights torch\.float32; use images"):
        model(torch.zeros(2, 3, 16, 16).double())
    model.head = torch.nn.Identity()  # a user's own head may have no weight
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.zeros(2, 3, 16, 16).bfloat16()).shape == (2, 32)
        with pytest.raises(ValueError, match=r"torch\.float64"):
            model(torch.zeros(2, 3, 16, 16).double())


def test_tiny_vits_of_the_three_libraries_have_the_same_size():
    sizes = {sum(p.numel() for p in tiny_vit(k).parameters()) for k in ("minivit", "timm")}
    sizes.add(sum(p.numel() for p in tiny_vit("torchvision").parameters()))
    assert len(sizes) == 1
