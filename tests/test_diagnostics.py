"""Diagnostics say of a network what can be worked out about it by hand, in three libraries."""

import math

import pytest
import torch
import torch.nn.functional as F
from models import tiny_vit

from minivit import Mimetic, ViT, ViTConfig, attention_maps, initialize_, mimetic_
from minivit.circuits import locality, patch_grid
from minivit.diagnostics import diagnose, mean_share, residual_stream, token_std
from minivit.variants import change_start_

CONFIG = ViTConfig(dim=48, depth=3, heads=2, positions="sincos_learned")


def network(attention="mimetic", config=CONFIG):
    return initialize_(ViT(config), "torch_default", attention, seed=0)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGES = noise(4, 3, 32, 32)


@pytest.mark.parametrize("kind", ["minivit", "timm", "torchvision"])
def test_the_stream_is_what_each_block_reads_and_the_last_one_leaves(kind):
    model = tiny_vit(kind).eval()
    images = noise(2, 3, 16, 16)
    stream = residual_stream(model, images)
    blocks = model.encoder.layers if kind == "torchvision" else model.blocks
    assert len(stream) == len(blocks) + 1
    with torch.no_grad():
        for before, block, after in zip(stream[:-1], blocks, stream[1:], strict=True):
            assert torch.allclose(block(before), after, atol=1e-5)
        norm = model.encoder.ln if kind == "torchvision" else model.norm
        head = model.heads if kind == "torchvision" else model.head
        assert torch.allclose(head(norm(stream[-1])[:, 0]), model(images), atol=1e-5)


def test_dropout_is_off_while_a_network_is_looked_at_and_then_as_it_was():
    model = tiny_vit("timm", image_size=32)
    for block in model.blocks:
        block.attn.attn_drop.p, block.drop_path1 = 0.5, torch.nn.Dropout(0.5)
    model.train()
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    for look in (residual_stream, attention_maps):
        assert torch.equal(look(model, IMAGES), look(model, IMAGES)), look.__name__
    assert [module.training for module in model.modules()] == modes


def test_std_is_what_layernorm_divides_by():
    x = 3 * noise(2, 5, 7, 16) + 11  # (lead, batch, token, dim); the mean of a token is 11
    for part, found in zip(x, token_std(x), strict=True):
        variance = part.var(-1, unbiased=False).mean()
        assert math.isclose(found, variance.sqrt(), rel_tol=1e-5)
        token = part[:1, :1]
        back = F.layer_norm(token, (16,)) * token_std(token)
        assert torch.allclose(back, token - token.mean(), atol=1e-3)


def test_mean_share_is_one_for_equal_tokens_and_small_for_unlike_ones():
    token = noise(3, 1, 40)
    assert math.isclose(mean_share(token.expand(3, 9, 40)), 1, rel_tol=1e-5)
    unlike = mean_share(noise(2, 200, 25, 40))
    assert unlike.shape == (2,) and (unlike - 1 / 25).abs().max() < 0.005
    # Half of the energy shared, half not: 1/2, and what the others have in common by chance.
    mixed = noise(500, 1, 40) + noise(500, 25, 40, seed=1)
    assert abs(mean_share(mixed) - (0.5 + 0.5 / 25)) < 0.01


def test_what_layernorm_takes_away_does_not_count():
    x = noise(2, 9, 16)
    shifted = x + 100 * noise(2, 9, 1, seed=1)
    assert math.isclose(mean_share(x), mean_share(shifted), abs_tol=1e-3)
    assert math.isclose(token_std(x), token_std(shifted), rel_tol=1e-3)


def test_a_diagnosis_has_the_numbers_of_every_layer():
    model = network()
    found = diagnose(model, IMAGES)
    stream, maps = residual_stream(model, IMAGES), attention_maps(model, IMAGES)
    for n in range(CONFIG.depth):
        where = locality(maps[n])
        assert math.isclose(found.std[n], token_std(stream[n]), rel_tol=1e-5)
        assert math.isclose(found.mean_share[n], mean_share(stream[n]), rel_tol=1e-5)
        for part in ("itself", "near", "entropy"):
            assert math.isclose(getattr(found, part)[n], getattr(where, part).mean(), rel_tol=1e-5)
    assert all(part.shape == (CONFIG.depth,) for part in found)


def test_faults_show_where_they_should():
    healthy = diagnose(network(), IMAGES)
    plain = diagnose(network("plain"), IMAGES)
    sharp = network("plain")
    mimetic_(sharp, Mimetic(beta_qk=8.0), generator=torch.Generator().manual_seed(0))
    sharp = diagnose(sharp, IMAGES)
    shuffled = diagnose(change_start_(network(), "positions=shuffled", seed=0), IMAGES)
    loud = diagnose(change_start_(network(), "patch_scale=8", seed=0), IMAGES)
    assert sharp.entropy[0] < healthy.entropy[0] < plain.entropy[0]
    assert abs(plain.entropy[0] - math.log(64)) < 0.1
    assert shuffled.near[0] < healthy.near[0] and math.isclose(
        shuffled.std[0], healthy.std[0], rel_tol=0.05
    )
    assert loud.std[0] > 3 * healthy.std[0]


def test_a_class_token_is_refused_with_what_to_do():
    model = network(config=ViTConfig(dim=48, depth=1, heads=2, pool="cls"))
    with pytest.raises(ValueError, match="leave the class token out"):
        diagnose(model, IMAGES)


def wide(**options):
    """timm's ViT without class token on images of 16 × 64: 2 × 8 patches, as many as 4 × 4."""
    from timm.models.vision_transformer import VisionTransformer

    size = {"img_size": (16, 64), "patch_size": 8, "embed_dim": 48, "num_heads": 3, "depth": 2}
    options = {"class_token": False, "global_pool": "avg", **options}
    return VisionTransformer(**size, **options).eval()


def test_patches_stand_in_the_grid_that_the_model_says():
    model, images = wide(), noise(2, 3, 16, 64)
    maps = attention_maps(model, images)
    found = diagnose(model, images).near
    assert torch.equal(found, locality(maps, (2, 8)).near.mean((1, 2)))
    assert not torch.allclose(found, locality(maps).near.mean((1, 2)), atol=0.01)  # of 4 × 4
    assert patch_grid(network()) == (8, 8) and patch_grid(tiny_vit("torchvision")) is None
    with pytest.raises(ValueError, match=r"grid is \(4, 4\), but the model's .* in \(2, 8\)"):
        diagnose(model, images, grid=(4, 4))


def test_a_class_token_does_not_make_a_square():
    """2 × 4 patches and a class token are nine tokens, and no 3 × 3."""
    model = wide(class_token=True, global_pool="token")
    model.set_input_size((16, 32))
    with pytest.raises(ValueError, match=r"9 × 9; the patches of a 2 × 4 grid .*class token out"):
        diagnose(model, noise(2, 3, 16, 32))


def test_a_model_that_takes_any_size_is_asked_about_these_images():
    model, images = wide(dynamic_img_size=True), noise(2, 3, 32, 32)
    expected = locality(attention_maps(model, images), (4, 4)).near.mean((1, 2))
    assert torch.equal(diagnose(model, images).near, expected)


class Unsaid(torch.nn.Module):
    """A model that hides what it is made of."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, images):
        return self.inner(images)


def test_where_the_model_says_nothing_only_square_images_have_a_square_grid():
    model, images = wide(dynamic_img_size=True), noise(2, 3, 16, 64)
    with pytest.raises(ValueError, match=r"images are 16 × 64, .* give grid=\(rows, columns\)"):
        diagnose(Unsaid(model), images)
    given = diagnose(Unsaid(model), images, grid=(2, 8))
    assert torch.equal(given.near, diagnose(model, images).near)
    square = noise(2, 3, 32, 32)
    assert torch.equal(diagnose(Unsaid(model), square).near, diagnose(model, square).near)
