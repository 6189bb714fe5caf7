"""Reading attention: products are the maps that modules compute; unknown attention is refused."""

import math
from collections import OrderedDict
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from models import KINDS, attention_modules, ov_map, qk_map, tiny_vit
from torch import nn
from torch.nn.utils import parametrizations, prune

from minivit.bases import torch_default_
from minivit.circuits import (
    AttentionWeights,
    attention_layers,
    attention_maps,
    diagonal_stats,
    locality,
    ov,
    position_gram,
    qk,
    spectrum,
)
from minivit.diagnostics import residual_stream
from minivit.model import Attention, ViT, ViTConfig, sincos_positions

DIM, HEADS = 48, 3


def model_of(kind):
    """Untrained, attention weights large enough for the softmax to show them, biases at zero."""
    model = torch_default_(tiny_vit(kind), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in attention_layers(model):
            layer.qkv.mul_(3)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_the_maps_that_the_modules_compute(kind):
    model = model_of(kind)
    weights = AttentionWeights.of(model)
    for n, module in enumerate(attention_modules(model.double().eval())):
        assert torch.allclose(qk(weights)[n].double(), qk_map(module, DIM, HEADS), atol=1e-5)
        assert torch.allclose(ov(weights)[n].sum(0).double(), ov_map(module, DIM), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gain_before_attention_is_read(kind):
    model = tiny_vit(kind)
    norms = [m for n, m in model.named_modules() if n.endswith(("norm1", "ln_1"))]
    for n, norm in enumerate(norms):
        nn.init.constant_(norm.weight, n + 2.0)
    assert AttentionWeights.of(model).norm_gain[:, 0].tolist() == [2.0, 3.0]


def test_weights_are_copies():
    model = tiny_vit("minivit")
    AttentionWeights.of(model).W_Q.zero_()
    assert model.blocks[0].attn.qkv.weight.abs().max() > 0


def test_folding_the_gain_in_leaves_every_map_of_the_token_before_it():
    model, g = model_of("minivit"), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in model.blocks:
            block.norm1.weight.add_(torch.randn(DIM, generator=g))
    weights, x = AttentionWeights.of(model), torch.randn(5, DIM, generator=g)
    folded = weights.folded()
    assert folded.norm_gain is None
    with pytest.raises(ValueError, match="no LayerNorm's gain"):
        folded.folded()
    for n, block in enumerate(model.blocks):
        read = x * block.norm1.weight.detach()  # what attention reads of the normalised token x
        for name in ("W_Q", "W_K", "W_V"):
            before, after = (getattr(each, name)[n] for each in (weights, folded))
            assert torch.allclose(read @ before, x @ after, atol=1e-4), name
    assert torch.equal(weights.W_O, folded.W_O)


def test_diagonal_stats_of_known_matrices():
    identity = torch.eye(64)
    plus, minus = diagonal_stats(identity), diagonal_stats(-2 * identity)
    assert math.isclose(plus.cosine, 1, rel_tol=1e-6) and math.isclose(
        minus.cosine, -1, rel_tol=1e-6
    )
    assert plus.mean == 1 and minus.mean == -2 and plus.spread == 0
    stats = diagonal_stats(identity + 0.3 * (1 - identity) * torch.randn(64, 64).sign())
    assert abs(stats.spread - 0.3) < 0.01 and abs(stats.ratio - 1 / 0.3) < 0.1
    assert torch.isclose(stats.chance, stats.spread / 8)


def test_chance_is_the_spread_of_a_mean_diagonal():
    """Over many noise matrices mean / chance has mean 0 and spread 1, within six deviations."""
    noise = torch.randn(4000, 16, 16, generator=torch.Generator().manual_seed(0))
    stats = diagonal_stats(noise)
    z = stats.mean / stats.chance
    assert abs(z.mean()) < 6 / 4000**0.5 and abs(z.std() - 1) < 6 / 8000**0.5 + 0.02


def test_a_projector_of_rank_k_reaches_the_ceiling():
    basis = torch.linalg.qr(torch.randn(48, 16)).Q
    stats = diagonal_stats(basis @ basis.T, rank=16)
    assert math.isclose(stats.cosine, stats.ceiling, rel_tol=1e-4)
    assert math.isclose(stats.ceiling, (16 / 48) ** 0.5)


def test_matrices_that_are_not_square_and_ranks_out_of_range():
    for shape in ((3, 4), (3,), (), (1, 1)):
        with pytest.raises(ValueError, match="there must be two last axes, equal, at least 2"):
            diagonal_stats.__wrapped__(torch.ones(shape))
    with pytest.raises(ValueError, match="rank is 5; it must be from 1 to 4"):
        diagonal_stats(torch.eye(4), rank=5)


def test_spectrum_from_thin_factors_is_that_of_the_product():
    weights = AttentionWeights.of(model_of("minivit"))
    thin = spectrum(weights.W_Q, weights.W_K.transpose(-1, -2))
    full = torch.linalg.svdvals(qk(weights))
    assert torch.allclose(thin, full[..., :16], atol=1e-5) and full[..., 16:].max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_attention_maps_are_what_the_module_weighs_with(kind):
    """The first layer's output, computed from its map, its values and its projection."""
    model = model_of(kind).eval()
    images = torch.randn(2, 3, 16, 16)
    maps = attention_maps(model, images)
    assert torch.allclose(maps.sum(-1), torch.ones(()), atol=1e-5)
    seen = {}
    attention = attention_modules(model)[0]
    hook = attention.register_forward_hook(lambda _, x, y: seen.update(x=x[0], y=y))
    model(images)
    hook.remove()
    weights = AttentionWeights.of(model)
    x = seen["x"][:, None]  # (batch, 1, token, dim)
    expected = (maps[0] @ x @ weights.W_V[0] @ weights.W_O[0]).sum(1)
    output = seen["y"][0] if isinstance(seen["y"], tuple) else seen["y"]
    assert torch.allclose(output, expected, atol=1e-4)


def test_attention_maps_are_those_of_torchs_own_attention():
    """Every layer, biases included, in the weights that nn.MultiheadAttention returns."""
    model = tiny_vit("minivit").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    images, inputs = torch.randn(2, 3, 16, 16, generator=generator), []
    modules = attention_modules(model)
    hooks = [m.register_forward_pre_hook(lambda _, x: inputs.append(x[0])) for m in modules]
    maps = attention_maps(model, images)
    for hook in hooks:
        hook.remove()
    for n, module in enumerate(modules):
        theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        state = {"in_proj_weight": module.qkv.weight, "in_proj_bias": module.qkv.bias}
        state |= {f"out_proj.{k}": v for k, v in module.proj.state_dict().items()}
        theirs.load_state_dict(state)
        expected = theirs(inputs[n], inputs[n], inputs[n], average_attn_weights=False)[1]
        assert torch.allclose(maps[n], expected, atol=1e-5)
        assert maps[n].std() > 0.01  # not all alike


def test_tokens_before_the_batch_are_refused():
    """Images would attend to each other, and the maps would look like any others."""
    with pytest.raises(ValueError, match=r"'0'.*batch_first=True"):
        attention_maps(nn.Sequential(nn.MultiheadAttention(8, 2)), torch.zeros(2, 3, 8))


def test_position_gram_is_largest_at_the_same_place():
    model = ViT(ViTConfig(dim=64, depth=1, heads=1, positions="sincos"))
    gram = position_gram(model)
    table = sincos_positions(8, 64)
    assert torch.allclose(gram, table @ table.T / 64) and (gram.argmax(1) == torch.arange(64)).all()


def test_a_model_without_a_table_of_positions_is_a_sentence():
    with pytest.raises(ValueError, match="Linear has no table of positions called pos_embed"):
        position_gram(nn.Linear(2, 2))


class Separate(nn.Module):
    """Three linear maps, as Hugging Face's ViTSelfAttention has them."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))


class Gated(nn.Module):
    """With qkv in two, under a name that says nothing, as in timm's ConViT."""

    def __init__(self):
        super().__init__()
        self.qk, self.v, self.proj = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(8, 8)


class Named(nn.Module):
    """Under other names of the same maps: Llama's papers', Hugging Face's, flash-attn's."""

    def __init__(self, *names):
        super().__init__()
        for name in names:
            setattr(self, name, nn.Linear(8, 8))


SelfAttention = type("SelfAttention", (Separate,), {})
CrossAttention = type("CrossAttention", (Attention,), {})


without_gain = partial(nn.LayerNorm, elementwise_affine=False)


def timm_attention(norm=nn.LayerNorm, **options):
    from timm.layers.attention import Attention

    return Attention(48, num_heads=3, qkv_bias=True, norm_layer=norm, **options)


def of_channels():
    from timm.models.davit import ChannelAttention

    return ChannelAttention(48, num_heads=3)


def rotary():
    from timm.layers.attention import AttentionRope

    return AttentionRope(48, num_heads=3)


def parallel(kind):
    from timm.models import vision_transformer

    return getattr(vision_transformer, kind)(48, num_heads=3)


def windowed():
    from timm.models.swin_transformer import WindowAttention

    return WindowAttention(48, num_heads=3, window_size=(4, 4))


def relative():
    from timm.models.vision_transformer_relpos import RelPosAttention

    return RelPosAttention(48, num_heads=3)


class HeadsLast(Attention):
    """As timm's nest: proj reads the numbers of all heads side by side, not head after head."""

    def forward(self, x):
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(*qkv).permute(0, 2, 3, 1).flatten(2))


class Causal(Attention):
    def forward(self, x):
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv, is_causal=True)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Backwards(Causal):
    """Sees itself and later tokens."""

    def forward(self, x):
        return super().forward(x.flip(1)).flip(1)


class Colder(Attention):
    scale = 0.5

    def forward(self, x):
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def faint(module):
    """Weights so small that on tokens of size 1 all attention is uniform."""
    with torch.no_grad():
        module.qkv.weight.mul_(0.01)
        module.qkv.bias.fill_(0.5)  # which the size of tokens must not hang on
    return module


class TwoInputs(Attention):
    def forward(self, x, context):
        return super().forward(x + context)


class WithMaps(Attention):
    def forward(self, x):
        return super().forward(x), None


class NeedsPackage(Attention):
    def forward(self, x):
        raise ImportError("flash_attn is not there")


class ScaledDotProductAttention(nn.Module):
    """Of many a tutorial: no weights of its own."""


class TutorialAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.w_qs, self.w_ks, self.fc = (nn.Linear(dim, dim) for _ in range(3))
        self.attention = ScaledDotProductAttention()


class Doubled(nn.MultiheadAttention):
    def forward(self, query, *rest, **named):
        return super().forward(2 * query, *rest, **named)


def normed(module, part):
    parametrizations.weight_norm(getattr(module, part))
    return module


def pruned(module):
    prune.l1_unstructured(module.qkv, "weight", amount=0.5)
    return module


@pytest.mark.parametrize(
    "make, reason",
    [
        (SelfAttention, "an attention that minivit does not know"),
        (Separate, "an attention that minivit does not know"),
        (Gated, "an attention that minivit does not know"),
        (lambda: Named("wq", "wk", "wv", "wo"), "an attention that minivit does not know"),
        (lambda: Named("q_lin", "k_lin", "v_lin"), "an attention that minivit does not know"),
        (lambda: Named("queries", "keys", "values"), "an attention that minivit does not know"),
        (lambda: Named("Wqkv", "out_proj"), "an attention that minivit does not know"),
        (of_channels, "does not mix the tokens of one sequence"),
        (lambda: CrossAttention(ViTConfig(dim=48)), "does not mix the tokens of one sequence"),
        (lambda: timm_attention(qk_norm=True), "besides qkv and proj .q_norm.weight, q_norm"),
        (lambda: timm_attention(scale_norm=True), "has parameters besides qkv and proj"),
        (lambda: timm_attention(gated=True), "has parameters besides qkv and proj"),
        (lambda: timm_attention(attn_head_dim=32), "maps 48 numbers to 288"),
        (lambda: timm_attention(dim_out=24), "and back to 24"),
        (lambda: timm_attention(qk_norm=True, norm=without_gain), "normalises inside .q_norm, k_n"),
        (rotary, "rotary"),
        (lambda: parallel("ParallelScalingBlock"), "an attention that minivit does not know"),
        (lambda: parallel("DiffParallelScalingBlock"), "an attention that minivit does not know"),
        (windowed, "has parameters besides qkv and proj"),
        (lambda: relative(), "brings positions in by shared_rel_pos"),
        (lambda: HeadsLast(ViTConfig(dim=48)), "gives other tokens than softmax attention"),
        (lambda: Backwards(ViTConfig(dim=48)), "gives other tokens than softmax attention"),
        (lambda: faint(Colder(ViTConfig(dim=48))), "gives other tokens than softmax attention"),
        (lambda: TwoInputs(ViTConfig(dim=48)), r"could not be tried on six tokens \(TypeError: .*"),
        (lambda: WithMaps(ViTConfig(dim=48)), "six tokens .it gives a tuple, not a tensor"),
        (lambda: NeedsPackage(ViTConfig(dim=48)), "six tokens .ImportError: flash_attn is"),
        (lambda: TutorialAttention(48), "is an attention that minivit does not know"),
        (lambda: pruned(timm_attention()), "computes its weights from others"),
        (lambda: normed(timm_attention(), "proj"), "computes its weights from others"),
        (lambda: normed(nn.MultiheadAttention(48, 3), "out_proj"), "computes its weights"),
        (lambda: Doubled(48, 3), "changes what nn.MultiheadAttention computes"),
        (lambda: nn.MultiheadAttention(48, 3, kdim=32), "of another width than its queries"),
        (lambda: nn.MultiheadAttention(48, 3, add_bias_kv=True), "appends biases"),
        (lambda: nn.MultiheadAttention(48, 3, add_zero_attn=True), "appends biases or zeros"),
    ],
)
def test_attention_of_another_kind_is_refused_by_name(make, reason):
    model = tiny_vit("minivit")
    model.blocks[1].odd = make()
    # What is written into a weight that is computed would be lost: there the way out is another.
    way = "initialize before" if "computes its weights" in reason else "mimetic_attention_"
    with pytest.raises(ValueError, match=rf"'blocks\.1\.odd'.*{reason}.*{way}"):
        attention_layers(model)


def test_a_layer_that_is_tried_keeps_nothing_of_the_trial_and_its_hooks_hear_nothing():
    class Keeps(Attention):
        """Appends what it has seen to what it looks at next."""

        def forward(self, x):
            self.seen = [*getattr(self, "seen", ()), x]
            return super().forward(x)

    model, heard = tiny_vit("minivit"), []
    model.blocks[0].attn = Keeps(model.config)
    model.blocks[0].attn.qkv.register_forward_hook(lambda *given: heard.append(given))
    model.blocks[0].attn.train()
    assert len(attention_layers(model)) == 2
    assert heard == [] and not hasattr(model.blocks[0].attn, "seen")
    assert model.blocks[0].attn.training


class Windows(Attention):
    """Attention within each row of a grid of tokens (batch, row, column, dim)."""

    def forward(self, x):
        return super().forward(x.flatten(0, 1)).view_as(x)


class Grid(Attention):
    def forward(self, x):
        return super().forward(x.flatten(1, 2)).view_as(x)


class AsImages(Attention):
    def forward(self, x):
        return super().forward(x.flatten(2).mT).mT.reshape(x.shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [Attention, Windows, Grid, AsImages])
def test_tokens_may_come_in_other_arrangements_and_precisions(kind, dtype):
    for scale in (1e-3, 1.0, 30.0):
        module = kind(ViTConfig(dim=48)).to(dtype)
        with torch.no_grad():
            module.qkv.weight.mul_(scale)
        assert len(attention_layers(nn.ModuleDict({"attn": module}))) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_small_difference_is_seen_in_half_precision_too(dtype):
    module = Colder(ViTConfig(dim=48)).to(dtype)
    module.scale = 1.1 / 4  # in place of 1 / √16
    with pytest.raises(ValueError, match="gives other tokens than softmax attention"):
        attention_layers(nn.ModuleDict({"attn": module}))


def test_a_model_is_known_under_autocast():
    model, x = tiny_vit("minivit"), torch.randn(2, 3, 16, 16)
    expected = attention_maps(model, x)
    with torch.autocast("cpu", torch.bfloat16):
        maps = attention_maps(model, x)
    torch.testing.assert_close(maps, expected, atol=0.02, rtol=0)


def test_causal_attention_is_known_and_its_maps_look_back_only():
    module, x = Causal(ViTConfig(dim=48)), torch.randn(2, 5, 48)
    model = nn.Sequential(OrderedDict(attn=module))
    assert [layer.causal for layer in attention_layers(model)] == [True]
    (maps,) = attention_maps(model, x)
    assert torch.equal(maps.triu(1), torch.zeros_like(maps)) and maps.tril().sum() > 29.99
    value = module.qkv(x).unflatten(2, (3, 3, -1))[:, :, 2].transpose(1, 2)
    mixed = (maps @ value).transpose(1, 2).flatten(2)
    assert torch.allclose(module.proj(mixed), module(x), atol=1e-5)


def test_trying_a_module_leaves_no_trace():
    torch.manual_seed(0)
    model, heard = tiny_vit("timm"), []
    model.blocks[0].attn.attn_drop.eval()
    model.blocks[0].attn.register_forward_hook(lambda *_: heard.append(1))
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    attention_layers(model)
    assert [m.training for m in model.modules()] == modes and not heard
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_dropout_and_weights_that_are_nothing_hide_no_layer():
    module = timm_attention(attn_drop=0.5, proj_drop=0.5).train()
    assert len(attention_layers(nn.ModuleDict({"attn": module}))) == 1
    for value in (0.0, float("nan")):
        nn.init.constant_(module.qkv.weight, value)
        assert len(attention_layers(nn.ModuleDict({"attn": module}))) == 1
    with torch.device("meta"):
        assert len(attention_layers(tiny_vit("timm"))) == 2


class HeadMajor(nn.Module):
    """Softmax attention whose qkv holds head by head what others hold query, key, value."""

    def __init__(self, dim=48, heads=3):
        super().__init__()
        self.num_heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        split = self.qkv(x).unflatten(-1, (self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4)
        return self.proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("value", [0.0, float("nan"), None])
def test_another_layout_is_refused_whatever_the_weights_are(value):
    """With proj at 0, as some begin, every layout gives the same. On meta there are no weights."""
    with torch.device("cpu" if value is not None else "meta"):
        model = nn.ModuleDict({"attention": HeadMajor()})
    if value is not None:
        nn.init.constant_(model["attention"].proj.weight, value)
    with pytest.raises(ValueError, match=r"'attention' \(HeadMajor\) gives other tokens than"):
        attention_layers(model)


def test_a_module_that_counts_its_calls_has_none_counted():
    class Counting(Attention):
        def __init__(self, config):
            super().__init__(config)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    module = Counting(ViTConfig(dim=48))
    assert len(attention_layers(nn.ModuleDict({"attn": module}))) == 1 and module.calls == 0


def test_an_attention_that_is_compiled_is_read_as_the_one_inside():
    model, x = tiny_vit("timm"), torch.randn(2, 3, 16, 16)
    expected, plain = attention_maps(model, x), attention_layers(model)
    model.blocks[0].attn = torch.compile(model.blocks[0].attn, backend="eager")
    found = attention_layers(model)
    assert [each.name for each in found] == [each.name for each in plain]
    assert all(a.qkv is b.qkv and a.proj is b.proj for a, b in zip(found, plain, strict=True))
    assert torch.equal(attention_maps(model, x), expected)


@pytest.mark.parametrize("kind", ["minivit", "torchvision"])
def test_a_compiled_attention_alone_is_one_layer(kind):
    layer = tiny_vit(kind).blocks[0].attn if kind == "minivit" else nn.MultiheadAttention(48, 3)
    assert len(attention_layers(torch.compile(layer, backend="eager"))) == 1


def test_layers_whose_weights_lie_in_one_memory_are_refused():
    model = tiny_vit("timm")
    model.blocks[1].attn.qkv.weight = nn.Parameter(model.blocks[0].attn.qkv.weight.data)
    with pytest.raises(ValueError, match=r"'blocks.0.attn' and 'blocks.1.attn' share a weight"):
        attention_layers(model)


def test_layers_that_share_a_weight_are_refused():
    model = tiny_vit("timm")
    model.blocks[1].attn.qkv.weight = model.blocks[0].attn.qkv.weight
    with pytest.raises(ValueError, match=r"'blocks.0.attn' and 'blocks.1.attn' share a weight"):
        attention_layers(model)


def test_attention_to_another_sequence_is_refused():
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(48, 3, 48, batch_first=True), 1)
    with pytest.raises(ValueError, match=r"multihead_attn.*attends to another sequence"):
        attention_layers(decoder)


class Calling(nn.Module):
    """Calls one attention as `call` says."""

    def __init__(self, attn, call):
        super().__init__()
        self.attn, self.call = attn, call

    def forward(self, x):
        return self.call(self.attn, x)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda a, x: a(x, x.flip(1), x)[0], "attends to another sequence"),
        (lambda a, x: a(query=x, key=x, value=2 * x)[0], "attends to another sequence"),
        (lambda a, x: a(x, x, x, attn_mask=torch.eye(4).bool())[0], "called with attn_mask"),
        (lambda a, x: a(x, x, x, torch.zeros(2, 4).bool())[0], "called with key_padding_mask"),
        (lambda a, x: a(x[0], x[0], x[0])[0], r"called with \(4, 48\)"),
    ],
)
def test_maps_of_attention_that_is_told_more_than_tokens_are_refused(call, sentence):
    model = Calling(nn.MultiheadAttention(48, 3, batch_first=True), call)
    with pytest.raises(ValueError, match=sentence):
        attention_maps(model, torch.randn(2, 4, 48))


def test_keywords_are_arguments_too():
    attn, x = nn.MultiheadAttention(48, 3, batch_first=True), torch.randn(2, 4, 48)
    named = Calling(attn, lambda a, x: a(query=x, key=x, value=x)[0])
    there = attn(x, x, x, average_attn_weights=False)[1]
    assert torch.allclose(attention_maps(named, x)[0], there, atol=1e-6)


@pytest.mark.integration
@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_model_that_has_run_is_heard(whole):
    """What was compiled before a hook came runs without it: no maps, and no word."""
    model, images = tiny_vit("minivit").eval(), torch.randn(2, 3, 16, 16)
    expected, states = attention_maps(model, images), residual_stream(model, images)
    if whole:
        compiled = torch.compile(model, backend="eager", dynamic=False)
    else:  # as `train` does it
        compiled = model
        model.compile(backend="eager", dynamic=False)
    with torch.no_grad():
        compiled(images)
    assert torch.equal(attention_maps(compiled, images), expected)
    assert torch.equal(residual_stream(compiled, images), states)
    torch.compiler.reset()


def test_layers_of_different_sizes_are_a_sentence():
    model = nn.ModuleList([timm_attention(), nn.MultiheadAttention(24, 3)])
    with pytest.raises(ValueError, match=r"differ in heads and dim: \(3, 48\), \(3, 24\)"):
        AttentionWeights.of(model)


def test_a_norm_that_comes_after_attention_is_not_the_one_before():
    for first, known in ((True, True), (False, False)):
        layer = nn.TransformerEncoderLayer(48, 3, 48, batch_first=True, norm_first=first)
        gain = AttentionWeights.of(nn.TransformerEncoder(layer, 2)).norm_gain
        assert (gain is not None) == known


def test_a_model_without_attention_is_refused():
    with pytest.raises(ValueError, match=r"Sequential has no attention layer .*mimetic_attention_"):
        attention_layers(nn.Sequential(nn.Linear(3, 3)))


def test_weights_without_their_model_are_a_sentence():
    with pytest.raises(ValueError, match=r"a model is expected, .*, and not OrderedDict"):
        attention_layers(tiny_vit("minivit").state_dict())


def test_layers_come_in_order_with_their_names():
    names = [layer.name for layer in attention_layers(tiny_vit("minivit", depth=3))]
    assert names == [f"blocks.{n}.attn" for n in range(3)]


def test_locality_counts_neighbours_up_to_the_border():
    uniform = torch.full((2, 16, 16), 1 / 16)
    where = locality(uniform)
    neighbours = torch.tensor([4.0, 6, 6, 4, 6, 9, 9, 6, 6, 9, 9, 6, 4, 6, 6, 4])
    assert torch.allclose(where.near, (neighbours / 16).mean().expand(2))
    assert torch.allclose(where.itself, torch.tensor(1 / 16).expand(2))
    assert torch.allclose(where.entropy, torch.tensor(math.log(16)).expand(2))


def test_locality_knows_itself_from_the_next_row():
    assert locality(torch.eye(16)) == (1, 1, 0)
    right = torch.eye(16).roll(1, dims=1)  # the patch to the right; from the border, far away
    where = locality(right)
    assert where.itself == 0 and where.near == pytest.approx(12 / 16)


def test_locality_on_a_grid_of_two_rows():
    below = torch.eye(6).roll(3, dims=1)  # of 2 × 3 patches: from the upper row the one below
    assert locality(below, (2, 3)) == (0, 1, 0)
    assert locality(below, (1, 6)).near == 0
    with pytest.raises(ValueError, match=r"6 × 6; the patches of a 2 × 4 grid are expected"):
        locality(below, (2, 4))
    with pytest.raises(ValueError, match=r"a square grid .* another grid=\(rows, columns\)"):
        locality(below)


def test_locality_refuses_a_class_token():
    with pytest.raises(ValueError, match=r"17 × 17.*class token"):
        locality(torch.full((17, 17), 1 / 17))
