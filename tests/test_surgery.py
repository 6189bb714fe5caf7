"""Taking a part out of W_Q W_Kᵀ gives the model whose weights lack that part."""

import copy

import pytest
import torch
from models import tiny_vit

from minivit.circuits import AttentionWeights, qk
from minivit.surgery import answers, taken_out


@pytest.fixture
def images():
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def shaken(kind):
    """A tiny ViT whose attention is far from uniform, with all biases but those of the queries.

    A bias of the queries would meet W_K too, and so be part of a change of W_K.
    """
    g = torch.Generator().manual_seed(0)
    model = tiny_vit(kind).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=g))
        for block in model.blocks:
            block.attn.qkv.bias[:48] = 0
    return model


def without_key_part(model, part):
    """The model with W_K − part for W_K; part: (layer, head, dim, head_dim)."""
    changed, dim = copy.deepcopy(model), part.shape[2]
    with torch.no_grad():
        for block, of_layer in zip(changed.blocks, part, strict=True):
            block.attn.qkv.weight[dim : 2 * dim] -= of_layer.mT.flatten(0, 1)
    return changed


@pytest.mark.parametrize("kind", ["minivit", "timm"])
def test_it_equals_the_model_whose_factors_lack_the_part(kind, images):
    model = shaken(kind)
    weights = AttentionWeights.of(model)
    g = torch.Generator().manual_seed(2)
    part = 0.3 * torch.randn(weights.W_K.shape, generator=g)
    with torch.no_grad():
        expected, before = without_key_part(model, part)(images), model(images)
        with taken_out(model, weights.W_Q @ part.mT):
            found = model(images)
        assert torch.allclose(found, expected, atol=1e-4)
        assert (found - before).abs().max() > 0.1, "the part matters here"
        assert torch.equal(model(images), before), "after the block nothing is left of it"


def test_nothing_taken_changes_nothing(images):
    model = shaken("minivit")
    with torch.no_grad(), taken_out(model, torch.zeros(2, 3, 48, 48)):
        found = model(images)
    with torch.no_grad():
        assert torch.allclose(found, model(images), atol=1e-5)


@pytest.mark.integration
def test_a_part_is_taken_out_of_a_compiled_model_that_has_run(images):
    model = shaken("minivit")
    taken = 0.5 * qk(AttentionWeights.of(model))
    with torch.no_grad(), taken_out(model, taken):
        expected = model(images)
    compiled = torch.compile(model, backend="eager", dynamic=False)
    with torch.no_grad():
        whole = compiled(images)
        with taken_out(compiled, taken):
            assert torch.equal(compiled(images), expected)
        assert torch.equal(compiled(images), whole) and not torch.equal(whole, expected)
    torch.compiler.reset()


def test_answers_are_those_of_the_whole_batch(images):
    model = shaken("minivit")
    assert torch.equal(answers(model, images, batch=4), model(images).argmax(-1))
    part = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), taken_out(model, part):
        expected = model(images).argmax(-1)
    assert torch.equal(answers(model, images, part, batch=4), expected)
    assert not torch.equal(expected, answers(model, images))


def test_it_refuses_what_it_can_not_do():
    with pytest.raises(ValueError, match=r"taken has shape \(1, 3, 48, 48\).*\(2, 3, 48, 48\)"):
        taken_out(tiny_vit("minivit"), torch.zeros(1, 3, 48, 48)).__enter__()
    with pytest.raises(ValueError, match="MultiheadAttention"):
        taken_out(tiny_vit("torchvision"), torch.zeros(2, 3, 48, 48)).__enter__()
