"""The bases: timm's own distribution, PyTorch's own distribution, and nothing left unset."""

import math

import pytest
import torch
from models import KINDS, tiny_vit
from scipy.stats import ks_2samp
from torch import nn
from torch.nn.utils import parametrizations, prune

from minivit.bases import BASES, torch_default_, vit_trunc_normal_
from minivit.model import ViT, ViTConfig, initial_positions


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same_distribution(a, b):
    """Two samples of one distribution: constant alike, or the KS test does not tell them apart."""
    a, b = a.detach().flatten(), b.detach().flatten()
    if a.std() == 0 or b.std() == 0 or len(a) == 1:
        return torch.equal(a.unique(), b.unique())
    scale = a.std() / b.std()
    return ks_2samp(a, b).pvalue > 1e-6 and abs(scale - 1) < 6 / math.sqrt(len(a))


def test_trunc_normal_is_timms_in_distribution_per_tensor():
    ours, timms = tiny_vit("minivit"), tiny_vit("timm")
    vit_trunc_normal_(ours, generator=generator())
    theirs = timms.state_dict()
    assert set(theirs) == set(ours.state_dict())
    for name, tensor in ours.state_dict().items():
        assert same_distribution(tensor, theirs[name]), name


def test_the_comparison_would_notice_a_wrong_scale():
    timms = tiny_vit("timm").state_dict()["blocks.0.attn.qkv.weight"]
    assert not same_distribution(timms * 1.1, timms)
    assert not same_distribution(0.02 * torch.randn(9216) + 0.004, timms)


def test_torch_default_is_the_constructors_but_for_attention_biases():
    ours, fresh = tiny_vit("minivit"), tiny_vit("minivit")
    torch_default_(ours, generator=generator())
    theirs = fresh.state_dict()
    for name, tensor in ours.state_dict().items():
        if "attn" in name and name.endswith("bias"):
            assert not tensor.any(), name
        elif name not in ("pos_embed", "cls_token"):
            assert same_distribution(tensor, theirs[name]), name


def test_torch_default_of_torchs_own_attention_is_its_constructors():
    ours, theirs = nn.MultiheadAttention(48, 3), nn.MultiheadAttention(48, 3)
    torch_default_(ours, generator=generator())
    for name in ("in_proj_weight", "out_proj.weight"):
        assert same_distribution(ours.get_parameter(name), theirs.get_parameter(name)), name


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_set_from_the_generator(kind, base):
    """Whatever the model held before, even nan, nothing of it is left."""
    states = []
    for spoiled in (False, True):
        model = tiny_vit(kind)
        if spoiled:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(float("nan"))
        BASES[base](model, generator=generator(7))
        states.append(model.state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


@pytest.mark.parametrize("positions", ["sincos", "sincos_learned"])
@pytest.mark.parametrize("base", BASES)
def test_a_sincos_table_starts_as_that_table(base, positions):
    """The fixed one, too: of a model that was made on meta, to_empty leaves whatever was there."""
    config = ViTConfig(dim=32, depth=1, heads=2, positions=positions)
    model = nn.Sequential(ViT(config))
    with torch.no_grad():
        model[0].pos_embed.fill_(float("nan"))
    BASES[base](model, generator=generator())
    assert torch.equal(model[0].pos_embed, initial_positions(config))


def with_gamma():
    model = tiny_vit("minivit")
    model.blocks[-1].gamma = nn.Parameter(torch.ones(48))
    return model


def with_wider_keys():
    model = tiny_vit("torchvision")
    last = model.encoder.layers[-1]
    last.self_attention = nn.MultiheadAttention(48, 3, kdim=24, batch_first=True)
    return model


def with_pruned_weights():
    model = tiny_vit("minivit")
    prune.random_unstructured(model.blocks[-1].mlp.fc1, "weight", 0.1)
    return model


def with_normed_weights():
    model = tiny_vit("minivit")
    parametrizations.weight_norm(model.head)
    return model


def with_biased_keys():
    model = tiny_vit("torchvision")
    layer = nn.MultiheadAttention(48, 3, add_bias_kv=True, batch_first=True)
    return nn.Sequential(model, nn.ModuleDict({"pool": layer}))


class Adapted(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.lora_A = nn.Parameter(torch.ones(2, self.in_features))


def with_adapter():
    model = tiny_vit("minivit")
    model.head = Adapted(*reversed(model.head.weight.shape))
    return model


@pytest.mark.parametrize(
    "made, sentence",
    [
        (with_gamma, r"'blocks\.1\.gamma'"),
        (with_wider_keys, r"self_attention.* has keys or values of another width"),
        (with_pruned_weights, r"'blocks\.1\.mlp\.fc1\.weight_orig'"),
        (with_normed_weights, r"'head\.parametrizations\.weight\.original0'"),
        (with_biased_keys, r"'1\.pool.*(appends biases|bias_k)"),
        (with_adapter, r"'head\.lora_A'"),
    ],
)
@pytest.mark.parametrize("base", BASES)
def test_a_model_that_no_base_knows_is_refused_before_anything_is_written(base, made, sentence):
    model = made()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    with pytest.raises(ValueError, match=sentence):
        BASES[base](model)
    assert all(map(torch.equal, model.state_dict().values(), before))


@pytest.mark.parametrize("base", BASES)
def test_a_seed_for_a_generator_is_refused_before_anything_is_written(base):
    model = tiny_vit("minivit")
    before = model.head.weight.clone()
    with pytest.raises(ValueError, match=r"generator is 0; .*manual_seed"):
        BASES[base](model, generator=0)
    assert torch.equal(model.head.weight, before)


def test_a_model_starts_near_chance():
    """Loss near ln 10: no class is preferred before the first step."""
    images = torch.randn(64, 3, 32, 32, generator=generator())
    labels = torch.arange(64) % 10
    for set_base_ in BASES.values():
        model = ViT(ViTConfig(dim=64, depth=4, heads=2))
        loss = nn.functional.cross_entropy(set_base_(model, generator=generator())(images), labels)
        assert abs(loss.item() / math.log(10) - 1) < 0.1
