"""The toy example: what the lessons say of it is so."""

import torch

from minivit.model import PatchEmbed, ViTConfig
from minivit.postcard import NAMES, PATCH_SIZE, POSTCARD, assemble, in_colour


def tokens():
    """The six patches, by a patch embedding whose matrix is the identity."""
    embed = PatchEmbed(ViTConfig(channels=2, patch_size=PATCH_SIZE, image_size=4, dim=8, heads=2))
    with torch.no_grad():
        embed.proj.weight.copy_(torch.eye(8).view(8, 2, 2, 2))
        embed.proj.bias.zero_()
        return dict(zip(NAMES, embed(POSTCARD[None])[0], strict=True))


def test_both_skies_are_one_patch_and_the_seas_are_only_alike():
    x = tokens()
    assert torch.equal(x["sky L"], x["sky R"]) and not torch.equal(x["sea L"], x["sea R"])
    assert torch.cosine_similarity(x["sea L"], x["sea R"], dim=0) > 0.9
    assert x["sky L"] @ x["sea L"] > x["sky L"] @ x["sky L"]


def test_assemble_puts_patches_back():
    assert torch.equal(assemble(torch.stack(list(tokens().values()))), POSTCARD)


def test_no_ink_is_white_and_each_ink_takes_away_its_part():
    inks = torch.tensor([[[0.0, 1.0, 0.0, 1.0, 0.4]], [[0.0, 0.0, 1.0, 1.0, 0.0]]])
    white, blue, orange, both, pale = in_colour(inks)[:, 0].T.tolist()
    assert white == [255, 255, 255]
    assert blue == [0, 114, 178] and orange == [230, 159, 0]
    assert both == [0, round(114 * 159 / 255), 0]
    assert pale == [153, 199, 224]
