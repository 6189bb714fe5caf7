"""The initializers, judged by the maps that the modules then compute, and by wrong initializers.

Each check is a function of the module `minivit.init`, so that the same check can be given a mutant:
the module with one mistake written into it. Every mutant must fail at least one check.
"""

import copy
import inspect
import itertools
import types
import warnings

import numpy as np
import pytest
import torch
from models import KINDS, attention_modules, ov_map, qk_map, tiny_vit

import minivit.bases
import minivit.init
from minivit.circuits import AttentionWeights, diagonal_stats, ov, qk
from minivit.layers import attention_layers
from minivit.runtime import stream

DIM, HEADS = 48, 3
ALL_THREE = ("mimetic_", "norm_matched_", "rotated_")
SETTINGS = {"alpha_qk": 0.6, "beta_qk": 0.9, "alpha_ov": 0.3, "beta_ov": 0.5}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def modules_of(init, kind="minivit", name="mimetic_", seed=0, **switches):
    model = tiny_vit(kind, dim=DIM, heads=HEADS)
    minivit.bases.vit_trunc_normal_(model, generator=generator(99))
    if name is not None:
        getattr(init, name)(model, init.Mimetic(**SETTINGS), generator=generator(seed), **switches)
    return attention_modules(model.double().eval())


def expected_products(seed=0, layers=2):
    """The equation once more, in numpy and float64: per layer, products of each head and of OV."""
    g, k = generator(seed), DIM // HEADS
    for _ in range(layers):
        noise = torch.randn(HEADS + 1, DIM, DIM, generator=g).double().numpy() / np.sqrt(DIM)
        heads = []
        for h in range(HEADS):
            u, s, vt = np.linalg.svd(0.6 * noise[h] + 0.9 * np.eye(DIM))
            heads.append(u[:, :k] @ np.diag(s[:k]) @ vt[:k])
        yield torch.tensor(np.stack(heads)), torch.tensor(0.3 * noise[HEADS] - 0.5 * np.eye(DIM))


def close(actual, wanted, tolerance=1e-5):
    worst = (actual - wanted).abs().max().item()
    assert worst < tolerance, f"off by {worst:.3g}"


# Checks: each takes the module minivit.init, or a mutant of it.


def check_maps(init, kind="minivit"):
    modules = modules_of(init, kind)
    for module, (heads, total) in zip(modules, expected_products(), strict=True):
        close(ov_map(module, DIM), total)
        close(qk_map(module, DIM, HEADS), heads)


def check_noise_is_what_the_paper_says(init):
    """Without a look at the draw order: OV + βI is noise of variance α²/dim in every entry."""
    for module in modules_of(init, seed=5):
        noise = ov_map(module, DIM) + 0.5 * torch.eye(DIM)
        sigma = 0.3 / DIM**0.5
        assert abs(noise.std() / sigma - 1) < 6 / (2 * DIM**2) ** 0.5
        assert abs(noise.diagonal().mean()) < 6 * sigma / DIM**0.5
        assert abs(noise.diagonal().std() / sigma - 1) < 6 / (2 * DIM) ** 0.5


def check_draws_are_independent(init):
    """No two heads, no two layers, and no head and its layer's OV share noise."""
    noises = []
    for module in modules_of(init, seed=6):
        noises += [*qk_map(module, DIM, HEADS), ov_map(module, DIM)]
    off = ~torch.eye(DIM, dtype=torch.bool)
    table = torch.corrcoef(torch.stack([noise[off] for noise in noises]))
    assert (table - torch.eye(len(noises))).abs().max() < 6 / DIM


def check_factors_share_the_size(init):
    """√σ on each side: W_Q and W_K, W_V and W_proj have the same singular values."""
    for module in modules_of(init):
        q, key, value = module.qkv.weight.detach().unflatten(0, (3, -1))
        sigma = torch.linalg.svdvals
        for left, right in zip(q.chunk(HEADS), key.chunk(HEADS), strict=True):
            close(sigma(left), sigma(right))
        close(sigma(value), sigma(module.proj.weight.detach()))


def check_sign_is_fixed(init):
    for module in modules_of(init):
        W_Q = module.qkv.weight.detach()[:DIM].T
        assert (W_Q.gather(0, W_Q.abs().argmax(0, keepdim=True)) > 0).all()


def check_switches(init):
    """A pair that is off stays as the base left it; the other does not change for that."""
    base = modules_of(init, name=None)
    pairs = (("ov", slice(0, 2 * DIM)), ("qk", slice(2 * DIM, None)))
    for name, (switch, own) in itertools.product(ALL_THREE, pairs):
        both, only = modules_of(init, name=name), modules_of(init, name=name, **{switch: False})
        for a, b, c in zip(only, both, base, strict=True):
            close(a.qkv.weight[own], b.qkv.weight[own], 1e-12)
            rest = torch.ones(3 * DIM, dtype=torch.bool)
            rest[own] = False
            close(a.qkv.weight[rest], c.qkv.weight[rest], 1e-12)
            close(a.proj.weight, (b if switch == "qk" else c).proj.weight, 1e-12)


def check_norm_matched(init):
    pairs = zip(modules_of(init), modules_of(init, name="norm_matched_"), strict=True)
    for mimetic, control in pairs:
        for part in (slice(0, DIM), slice(DIM, 2 * DIM), slice(2 * DIM, None)):
            a, b = mimetic.qkv.weight[part], control.qkv.weight[part]
            assert abs(b.std() / a.square().mean().sqrt() - 1) < 6 / (2 * DIM**2) ** 0.5
        assert abs(control.proj.weight.std() / mimetic.proj.weight.std() - 1) < 0.1
        check_no_alignment(control)
        weights = [*control.qkv.weight.chunk(3), control.proj.weight]
        table = torch.corrcoef(torch.stack([weight.flatten() for weight in weights]))
        assert (table - torch.eye(4)).abs().max() < 6 / DIM


def check_rotated(init):
    pairs = zip(modules_of(init), modules_of(init, name="rotated_"), strict=True)
    sigma = torch.linalg.svdvals
    for mimetic, control in pairs:
        close(sigma(ov_map(control, DIM)), sigma(ov_map(mimetic, DIM)))
        close(sigma(qk_map(control, DIM, HEADS)), sigma(qk_map(mimetic, DIM, HEADS)), 1e-4)
        for part in range(3):
            a, b = mimetic.qkv.weight.chunk(3)[part], control.qkv.weight.chunk(3)[part]
            for one, other in zip(a.chunk(HEADS), b.chunk(HEADS), strict=True):
                close(sigma(one), sigma(other))
        check_no_alignment(control)


def check_rotations_differ(init):
    """Each head turns by a matrix of its own: turned alike, two heads would stay alike."""
    model = tiny_vit("minivit", dim=DIM, heads=HEADS, depth=1)
    init.rotated_(model, init.Mimetic(alpha_qk=0.0), generator=generator())
    first, second, _ = qk(AttentionWeights.of(model))[0]
    assert (first - second).norm() > 0.5 * first.norm()


def check_the_generator_decides(init):
    """One seed, one network, for the controls too, whatever the global generator holds."""
    for name in ALL_THREE:
        drawn = []
        for global_seed, seed in ((0, 1), (5, 1), (0, 2)):
            torch.manual_seed(global_seed)
            module = modules_of(init, name=name, seed=seed)[0]
            drawn.append(torch.cat([module.qkv.weight, module.proj.weight]).detach())
        close(drawn[0], drawn[1], 1e-12)
        assert (drawn[0] - drawn[2]).norm() > 0.5 * drawn[0].norm()


def check_rotations_are_uniform(init):
    """What LAPACK's QR returns is orthogonal, but the sign of its diagonal is not random."""
    turns = torch.stack([init.random_orthogonal(4, generator(seed)) for seed in range(64)])
    close(turns @ turns.transpose(1, 2), torch.eye(4).expand(64, -1, -1))
    share = (turns.diagonal(dim1=1, dim2=2) > 0).double().mean(0)
    assert (share - 0.5).abs().max() < 6 * 0.5 / 64**0.5


def check_streams_of_an_arm(init):
    """Another seed is another base and other noise; the noise is no copy of the base's numbers."""
    models = [tiny_vit("minivit", dim=DIM, heads=HEADS) for _ in range(2)]
    for seed, model in enumerate(models):
        init.initialize_(model, "torch_default", "mimetic", seed=seed)
        draws = torch.randn(HEADS + 1, DIM, DIM, generator=stream(seed, "attention"))
        total = 0.4 * draws[HEADS] / DIM**0.5 - 0.4 * torch.eye(DIM)
        close(ov(AttentionWeights.of(model)).sum(1)[0], total)
    assert not torch.equal(models[0].head.weight, models[1].head.weight)


def check_no_alignment(module):
    """The mean diagonal is within six of its chance spreads, and the cosine with I is small."""
    for product in (*qk_map(module, DIM, HEADS), ov_map(module, DIM)):
        stats = diagonal_stats(product)
        assert abs(stats.mean) < 6 * stats.chance
        assert abs(stats.cosine) < 6 / DIM


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
CHECKS.remove(check_no_alignment)

MUTANTS = {
    "value and projection not transposed": [
        ("value.copy_(W_V.T)", "value.copy_(W_V)"),
        ("proj.copy_(W_O.T)", "proj.copy_(W_O)"),
    ],
    "query and key exchanged": [
        ("query.copy_(W_Q", "query.copy_(W_K"),
        ("key.copy_(W_K", "key.copy_(W_Q"),
    ],
    "sign of OV": [("noise[heads] - settings.beta_ov", "noise[heads] + settings.beta_ov")],
    "sign of QK": [("noise[:heads] + settings.beta_qk", "noise[:heads] - settings.beta_qk")],
    "heads share one draw": [("noise[:heads]", "noise[:1].expand(heads, -1, -1)")],
    "OV shares its draw with a head": [("* noise[heads]", "* noise[0]")],
    "layers share one draw": [
        ("noise = normal(heads + 1, dim, dim, generator=generator)",
         "noise = normal(heads + 1, dim, dim, generator=torch.Generator().manual_seed(0))"),
    ],
    "no square root": [
        ("scale = singular.sqrt()", "scale = singular"),
        ("singular.sqrt()[:, None]", "singular[:, None]"),
    ],
    "square root on one side": [
        ("scale = singular.sqrt()", "scale = singular"),
        ("singular.sqrt()[:, None] * largest", "largest"),
    ],
    "1/d in place of 1/√d": [("/ math.sqrt(dim)", "/ dim")],
    "noise not scaled": [(" / math.sqrt(dim)", "")],
    "truncated from the wrong end": [
        ("left[:, : dim // heads]", "left[:, -(dim // heads) :]"),
        ("right[: dim // heads]", "right[-(dim // heads) :]"),
    ],
    "sign fixed on one side": [("largest.sign().T * right", "right")],
    "sign not fixed": [(" * largest.sign().squeeze(0)", ""), (" * largest.sign().T", "")],
    "V for Vᵀ": [("right[: dim // heads].T", "right.T[: dim // heads].T")],
    "heads interleaved": [
        ("W_K.transpose(1, 2).flatten(0, 1)", "W_K.permute(2, 0, 1).flatten(0, 1)")
    ],
    "alpha and beta exchanged": [
        ("settings.alpha_qk * noise[:heads] + settings.beta_qk",
         "settings.beta_qk * noise[:heads] + settings.alpha_qk"),
    ],
    "QK scalars in OV": [("settings.beta_ov * identity", "settings.beta_qk * identity")],
    "noise depends on the switches": [("normal(heads + 1,", "normal(heads + ov,")],
    "switches ignored": [("        if ov:\n", "        if True:\n")],
    "the other switch ignored": [("        if qk:\n", "        if True:\n")],
    "control without the root": [("factor.square().mean().sqrt()", "factor.square().mean()")],
    "control with shared noise": [
        ("zip(factors, noise, strict=True)", "zip(factors, [noise[0]] * 4, strict=True)")
    ],
    "control not turned in OV": [("W_O = W_O @ turns[heads]", "pass")],
    "control not turned in QK": [("W_K = torch.stack(turns[:heads]) @ W_K", "pass")],
    "control turned by one matrix": [
        ("torch.stack(turns[:heads])", "torch.stack([turns[0]] * heads)")
    ],
    "control turned by another matrix": [("return q * r.diagonal().sign()", "return r")],
    "control turned not uniformly": [("return q * r.diagonal().sign()", "return q")],
    "another default alpha": [("alpha_ov: float = 0.4", "alpha_ov: float = 0.3")],
    "another default beta": [("beta_ov: float = 0.4", "beta_ov: float = 0.3")],
    "rotations depend on the switches": [
        ("range(heads + 1)]", "range(heads + 1 - (W_O is None))]")
    ],
    "control depends on the switches": [
        ("normal(4, dim, dim, generator=generator)",
         "normal(4, dim, dim, generator=generator).roll(int(factors[0] is None), 0)"),
    ],
    "control from the global stream": [("normal(4, dim, dim, generator=generator)",
                                        "normal(4, dim, dim)")],
    "rotation from the global stream": [("normal(dim, dim, generator=generator)",
                                         "normal(dim, dim)")],
    "one noise for all seeds": [('stream(seed, "attention")', 'stream(0, "attention")')],
    "one base for all seeds": [('stream(seed, "weights")', 'stream(0, "weights")')],
    "noise from the base's stream": [('stream(seed, "attention")', 'stream(seed, "weights")')],
    "noise from the global stream": [
        ('(model, generator=stream(seed, "attention"))', "(model, generator=None)")
    ],
}  # fmt: skip


def mutant(edits):
    source = inspect.getsource(minivit.init)
    for old, new in edits:
        assert source.count(old) == 1, f"the mutation no longer fits: {old!r}"
        source = source.replace(old, new)
    module = types.ModuleType("mutant")
    exec(compile(source, "mutant", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_initializer(check):
    check(minivit.init)


@pytest.mark.parametrize("kind", KINDS)
def test_every_librarys_vit_computes_the_intended_map(kind):
    check_maps(minivit.init, kind)


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


@pytest.mark.integration
def test_the_harness_itself_passes_the_right_code():
    for check in CHECKS:
        check(mutant([]))


@pytest.mark.parametrize("name", ALL_THREE)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_attention_weights_changes(kind, name):
    model = tiny_vit(kind)
    before = copy.deepcopy(model.state_dict())
    assert getattr(minivit.init, name)(model, generator=generator()) is model
    weights = {id(t) for layer in attention_layers(model) for t in (layer.qkv, layer.proj)}
    for key, tensor in model.named_parameters():
        assert (id(tensor) in weights) != torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("dim, expected", [(192, 0.398), (384, 0.222), (768, 0.119)])
def test_rank_truncation_leaves_the_known_diagonal(dim, expected):
    """Heads of width 64, one layer; the values are those of an independent computation."""
    torch_heads = dim // 64
    W_Q, W_K, *_ = minivit.init.mimetic_factors(dim, torch_heads, ov=False, generator=generator())
    mean = (W_Q @ W_K.transpose(1, 2)).diagonal(dim1=1, dim2=2).mean()
    assert abs(mean - expected) < 0.01


def test_without_noise_one_head_holds_exactly_beta_times_identity():
    model = tiny_vit("minivit", dim=32, heads=1)
    settings = minivit.init.Mimetic(alpha_qk=0.0, beta_qk=0.7, alpha_ov=0.0, beta_ov=0.4)
    minivit.init.mimetic_(model, settings, generator=generator())
    weights = AttentionWeights.of(model)
    close(qk(weights)[:, 0], 0.7 * torch.eye(32).expand(2, -1, -1))
    close(ov(weights)[:, 0], -0.4 * torch.eye(32).expand(2, -1, -1))


def test_without_noise_several_heads_hold_the_same_axes():
    weights = AttentionWeights.of(
        minivit.init.mimetic_(tiny_vit("minivit"), minivit.init.Mimetic(alpha_qk=0.0))
    )
    product = qk(weights)
    close(product[:, 0], product[:, 1])


def test_bfloat16_and_frozen_weights_keep_type_and_state():
    model = tiny_vit("minivit").bfloat16().requires_grad_(False)
    wide = tiny_vit("minivit")
    for each in (model, wide):
        minivit.init.mimetic_(each, generator=generator())
    for (name, a), b in zip(model.named_parameters(), wide.parameters(), strict=True):
        assert a.dtype == torch.bfloat16
        assert not a.requires_grad
        if "attn" in name and "weight" in name:
            assert torch.equal(a, b.bfloat16()), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gets_the_same_products_and_a_cuda_generator_is_refused():
    here, there = tiny_vit("minivit"), tiny_vit("minivit").cuda()
    for model in (here, there):
        minivit.init.mimetic_(model, generator=generator())
    close(qk(AttentionWeights.of(here)), qk(AttentionWeights.of(there)))
    assert all(p.is_cuda for p in there.parameters())
    with pytest.raises(ValueError, match="drawn on the CPU"):
        minivit.init.mimetic_(there, generator=torch.Generator("cuda"))


def test_seeds_and_the_global_generator():
    def product(g):
        return ov(AttentionWeights.of(minivit.init.mimetic_(tiny_vit("minivit"), generator=g)))

    assert torch.equal(product(generator(1)), product(generator(1)))
    assert not torch.allclose(product(generator(1)), product(generator(2)), atol=0.1)
    state = torch.get_rng_state()
    model = tiny_vit("minivit")
    torch.set_rng_state(state)
    minivit.init.mimetic_(model, generator=generator())
    assert torch.equal(torch.get_rng_state(), state), "an explicit generator leaves the global one"


def test_arms_of_one_seed_share_all_but_the_attention_weights():
    states = {}
    for attention in minivit.init.ATTENTION:
        model = tiny_vit("minivit", image_size=32)  # impulses need neighbours
        minivit.init.initialize_(model, "torch_default", attention, seed=3)
        states[attention] = model.state_dict()
    for attention, state in states.items():
        for key, tensor in state.items():
            own = "attn" in key and "weight" in key
            if not own:
                assert torch.equal(tensor, states["plain"][key]), (attention, key)
    mean = {}
    for attention, state in states.items():
        value, out = state["blocks.0.attn.qkv.weight"][96:], state["blocks.0.attn.proj.weight"]
        query, key = state["blocks.0.attn.qkv.weight"][:96].chunk(2)
        mean[attention] = (float((query.T @ key).trace()), float((value.T @ out.T).trace()))
    sign = {name: tuple(int(np.sign(x)) * (abs(x) > 6) for x in v) for name, v in mean.items()}
    assert sign["mimetic"] == (1, -1)
    assert sign["qk_only"] == (1, 0)
    assert sign["ov_only"] == (0, -1)
    assert sign["ov_flipped"] == (1, 1)
    assert sign["plain"] == sign["norm_matched"] == sign["rotated"] == (0, 0)


@pytest.mark.parametrize("switches", [{}, {"qk": False}, {"ov": False}])
def test_plain_tensors_get_what_a_model_of_one_layer_gets(switches):
    """Settings, switches and generator reach `mimetic_attention_`, the way in for other models."""
    model, settings = tiny_vit("minivit", depth=1), minivit.init.Mimetic(**SETTINGS)
    layer = attention_layers(model)[0]
    qkv, proj = layer.qkv.detach().clone(), layer.proj.detach().clone()
    minivit.init.mimetic_attention_(
        qkv, proj, layer.heads, settings, generator=generator(4), **switches
    )
    minivit.init.mimetic_(model, settings, generator=generator(4), **switches)
    assert torch.equal(qkv, layer.qkv) and torch.equal(proj, layer.proj)


def test_separate_query_key_and_value_get_what_one_tensor_gets():
    """As Hugging Face's ViT has them; and as GPT-2 stores them, for x @ W."""
    g = torch.Generator().manual_seed(0)
    q, k, v, proj = (torch.nn.Linear(32, 32) for _ in range(4))
    qkv, out = torch.randn(96, 32, generator=g), torch.randn(32, 32, generator=g)
    minivit.init.mimetic_attention_(qkv, out, np.int64(4), generator=generator(4))
    weights = (q.weight, k.weight, v.weight)
    minivit.init.mimetic_attention_(weights, proj.weight, 4, generator=generator(4))
    assert torch.equal(torch.cat(weights), qkv) and torch.equal(proj.weight, out)
    c_attn, c_proj = (torch.nn.Parameter(torch.randn(32, n, generator=g)) for n in (96, 32))
    minivit.init.mimetic_attention_(c_attn.T, c_proj.T, 4, generator=generator(4))
    assert torch.equal(c_attn.T, qkv) and torch.equal(c_proj.T, out)


def test_what_is_no_weight_of_a_model_is_refused():
    """Writing into it would change nothing, and nobody would hear of it."""
    q, k, v, proj = (torch.nn.Linear(32, 32).weight for _ in range(4))
    for qkv in (torch.cat([q, k, v]), (q, k, v.double()), torch.cat([q, k, v])[:]):
        with pytest.raises(ValueError, match="a tensor computed from weights is given"):
            minivit.init.mimetic_attention_(qkv, proj, 4)
    with torch.inference_mode():
        frozen = torch.zeros(96, 32)
    with pytest.raises(ValueError, match="inference mode"):
        minivit.init.mimetic_attention_(frozen, proj, 4)
    with pytest.raises(ValueError, match=r"\(32, 32\), \(32, 32\) and proj"):
        minivit.init.mimetic_attention_((q, k), proj, 4)
    with pytest.raises(ValueError, match="heads is True"):
        minivit.init.mimetic_factors(32, True)
    with pytest.raises(ValueError, match="qk and ov are both False"):
        minivit.init.mimetic_attention_((q, v, k), proj, 4, qk=False, ov=False)
    for sizes in ((0.7, 0.7), 0, None):  # every tuple is true, and would write the defaults
        with pytest.raises(ValueError, match=r"qk and ov are .*settings=Mimetic\(alpha_qk"):
            minivit.init.mimetic_attention_((q, k, v), proj, 4, qk=sizes)
    with pytest.raises(ValueError, match=r"are one in memory .expand"):
        minivit.init.mimetic_attention_((q, torch.zeros(1, 32).expand(32, 32), v), proj, 4)
    rows = torch.zeros(112, 32)  # the last of qkv would be the first of proj
    with pytest.raises(ValueError, match="one weight is given twice"):
        minivit.init.mimetic_attention_(rows[:96], rows[80:], 4)
    assert not rows.any()
    before = [each.clone() for each in (q, v, proj)]
    for qkv in ((q, q, v), (q, v, q.detach())):
        with pytest.raises(ValueError, match="one weight is given twice"):
            minivit.init.mimetic_attention_(qkv, proj, 4)
    assert all(map(torch.equal, before, (q, v, proj)))


def test_a_frozen_computed_weight_is_not_taken_for_one_that_can_be_written():
    """Without a gradient nothing tells it from another tensor, but that proj is a parameter."""
    layer = attention_layers(tiny_vit("minivit", dim=32, heads=4))[0]
    before = layer.proj.detach().clone()
    held = torch.nn.Linear(32, 96)
    torch.nn.utils.parametrizations.weight_norm(held).requires_grad_(False)
    with pytest.raises(ValueError, match="some of these are parameters and some are not"):
        minivit.init.mimetic_attention_(held.weight, layer.proj, 4)
    assert torch.equal(layer.proj, before)


@pytest.mark.parametrize("attention", [*minivit.init.ATTENTION])
def test_an_arm_that_a_model_can_t_take_leaves_it_as_it_was(attention):
    """The base comes first, and used to be written before attention was refused."""
    impulse = attention == "impulse"
    model = tiny_vit("torchvision" if impulse else "minivit")
    if not impulse:
        torch.nn.utils.parametrizations.weight_norm(model.blocks[1].attn.qkv)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"no table of positions|computes its weights from others"):
        minivit.init.initialize_(model, "torch_default", attention, seed=0)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_ranks_that_draw_each_their_own_are_warned_of():
    model = tiny_vit("minivit")
    minivit.bases.torch_default_(model)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        with pytest.warns(UserWarning, match="each process of a DistributedDataParallel draws"):
            minivit.init.mimetic_(wrapped)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="positions")
            minivit.init.mimetic_(wrapped, generator=generator())
    finally:
        torch.distributed.destroy_process_group()


def test_columns_of_one_matrix_share_nothing():
    """As in a layer that stores x @ W: query, key and value side by side, each given as its .T."""
    W, proj = torch.zeros(32, 96), torch.zeros(32, 32)
    minivit.init.mimetic_attention_([part.T for part in W.split(32, 1)], proj, 4)
    assert (W.split(32, 1)[2] @ proj.T).diagonal().mean() < -0.3


def test_a_warning_points_at_the_line_that_called_in():
    """Through however many functions of this package, and their decorators."""
    small = timms()

    def arm(model):
        return minivit.init.initialize_(model, "torch_default", "ov_flipped", seed=0)

    for write in (minivit.init.mimetic_, minivit.init.rotated_, arm):
        with pytest.warns(UserWarning, match="positions .pos_embed. start with") as caught:
            write(small)
        assert {each.filename for each in caught} == {__file__}


def timms(**options):
    """timm's ViT with other blocks, or with another pool, than the plain one has."""
    from timm.models.vision_transformer import VisionTransformer

    size = {"img_size": 16, "patch_size": 8, "embed_dim": DIM, "num_heads": HEADS, "depth": 2}
    return VisionTransformer(**size, **options)


def test_a_slice_of_a_weight_is_the_weight():
    """The way in for timm's block whose attention and MLP share one map, as the docstring says."""
    from timm.models.vision_transformer import ParallelScalingBlock

    block = timms(block_fn=ParallelScalingBlock).blocks[0]
    before = copy.deepcopy(block.state_dict())
    qkv, proj = block.in_proj.weight[-3 * DIM :], block.attn_out_proj.weight
    settings = minivit.init.Mimetic(**SETTINGS)
    minivit.init.mimetic_attention_(qkv, proj, HEADS, settings, generator=generator())
    heads, total = next(expected_products(layers=1))
    with torch.no_grad():
        W_Q, W_K, W_V = block.in_proj.weight[-3 * DIM :].chunk(3)
        close(W_V.T @ proj.T, total)
        for query, key, head in zip(W_Q.chunk(HEADS), W_K.chunk(HEADS), heads, strict=True):
            close(query.T @ key, head)
    for name, tensor in block.state_dict().items():
        mine = {"in_proj.weight": slice(-3 * DIM, None), "attn_out_proj.weight": slice(None)}
        rest = torch.ones(len(tensor), dtype=torch.bool)
        rest[mine.get(name, slice(0))] = False
        assert torch.equal(tensor[rest], before[name][rest]), name


def test_attentions_side_by_side_are_layers_of_their_own():
    from timm.models.vision_transformer import ParallelThingsBlock

    model = timms(block_fn=ParallelThingsBlock)
    settings = minivit.init.Mimetic(**SETTINGS)
    minivit.init.mimetic_(model, settings, generator=generator())
    modules = [branch.attn for block in model.blocks for branch in block.attns]
    expected = expected_products(layers=4)
    for module, (heads, total) in zip(modules, expected, strict=True):
        module.double().eval()
        close(ov_map(module, DIM), total)
        close(qk_map(module, DIM, HEADS), heads)
    with pytest.warns(UserWarning, match="LayerScale of 1e-05"):
        minivit.init.mimetic_(timms(block_fn=ParallelThingsBlock, init_values=1e-5))


class Pooled(torch.nn.Module):
    """As open_clip: blocks, and then an nn.MultiheadAttention with a learned query."""

    def __init__(self):
        super().__init__()
        self.blocks = tiny_vit("torchvision").encoder.layers
        self.query = torch.nn.Parameter(torch.randn(1, 1, DIM))
        self.pool = torch.nn.MultiheadAttention(DIM, HEADS, batch_first=True)


@pytest.mark.parametrize("make", [Pooled, lambda: timms(global_pool="map", class_token=False)])
def test_a_layer_that_pools_can_be_left_out(make):
    model, whole = make(), tiny_vit("minivit", dim=DIM, heads=HEADS)
    before = copy.deepcopy(model.state_dict())
    if not isinstance(model, Pooled):  # which has no qkv: it can be told apart
        with pytest.raises(ValueError, match=r"'attn_pool' .*mimetic_attention_"):
            minivit.init.mimetic_(model)
    minivit.init.mimetic_(model.blocks, generator=generator())
    changed = {name for name, tensor in model.state_dict().items()
               if not torch.equal(tensor, before[name])}  # fmt: skip
    assert len(changed) == 4 and all(name.startswith("blocks.") for name in changed)
    minivit.init.mimetic_(whole, generator=generator())
    assert torch.equal(qk(AttentionWeights.of(model.blocks)), qk(AttentionWeights.of(whole)))


@pytest.mark.parametrize("first, heard", [(False, 1), (True, 0)])
def test_blocks_that_normalise_after_attention_are_said(first, heard):
    block = torch.nn.TransformerEncoderLayer(DIM, HEADS, DIM, batch_first=True, norm_first=first)
    model = torch.nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        minivit.init.mimetic_(model)
    assert len([w for w in said if "post-norm" in str(w.message)]) == heard == len(said)


@pytest.mark.parametrize("scale, heard", [(1e-5, 1), (0.3, 0), (None, 0)])
def test_a_layer_scale_that_hides_what_is_written_is_said(scale, heard):
    model = timms(init_values=scale)
    torch.nn.init.normal_(model.pos_embed)  # timm's small ones have a warning of their own
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        minivit.init.mimetic_(model)
    assert len([w for w in said if "LayerScale of 1e-05" in str(w.message)]) == heard == len(said)


@pytest.mark.parametrize(
    "library, table", [("timm", "pos_embed"), ("torchvision", "pos_embedding")]
)
def test_positions_that_start_small_are_said(library, table):
    def heard(model, initialize_=minivit.init.mimetic_):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            initialize_(model)
        return [str(w.message) for w in said]

    model = tiny_vit(library)
    (said,) = heard(model)
    assert f"{table}) start with a standard deviation of 0.0" in said and "sincos_posit" in said
    positions = next(p for name, p in model.named_parameters() if name.endswith(table))
    positions.data.zero_()
    assert "standard deviation of 0;" in heard(model)[0]
    positions.data.normal_(std=0.5)
    assert heard(model) == []
    assert len(heard(tiny_vit("minivit"))) == 1, "its default is as small"
    table = minivit.ViTConfig(dim=DIM, heads=HEADS, depth=1, positions="sincos_learned")
    assert heard(minivit.ViT(table)) == []


@pytest.mark.parametrize("name", ALL_THREE)
def test_all_weights_grow_with_the_root_of_the_scalars(name):
    """Products are linear in the four scalars; so a control that ignores them is found out."""
    layers = []
    for factor in (1, 4):
        model = tiny_vit("minivit", depth=1)
        settings = minivit.init.Mimetic(**{key: factor * v for key, v in SETTINGS.items()})
        getattr(minivit.init, name)(model, settings, generator=generator())
        layers += attention_layers(model)
    close(2 * layers[0].qkv, layers[1].qkv)
    close(2 * layers[0].proj, layers[1].proj)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, "0.7", 1j])
@pytest.mark.parametrize("name", SETTINGS)
def test_scalars_that_make_no_sense_are_refused(name, value):
    settings = object.__new__(minivit.init.Mimetic)  # past the type checks, which tests alone have
    for key, good in {**SETTINGS, name: value}.items():
        object.__setattr__(settings, key, good)
    with pytest.raises(ValueError, match=rf"{name} is .*{value!r}; it must be a finite number"):
        settings.__post_init__()


@pytest.mark.parametrize("name", ["alpha_qk", "alpha_ov"])
def test_a_negative_alpha_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is -0.1; it must be a finite number from 0"):
        minivit.init.Mimetic(**{name: -0.1})


def test_a_seed_for_a_generator_and_a_number_for_settings_are_sentences():
    model = tiny_vit("minivit")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"generator is 0; .* torch\.Generator\(\)\.manual_seed"):
        minivit.init.mimetic_(model, generator=0)
    with pytest.raises(ValueError, match=r"settings is 0\.7; it must be Mimetic"):
        minivit.init.mimetic_(model, 0.7)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_negative_beta_is_an_ablation_and_says_so():
    with pytest.warns(UserWarning, match="beta_ov is -0.4: the sign ablation"):
        assert minivit.init.Mimetic(beta_ov=-0.4).beta_ov == -0.4


def test_plain_tensors_of_wrong_shape_are_refused():
    qkv, proj = torch.zeros(96, 32), torch.zeros(32, 32)
    with pytest.raises(ValueError, match="must divide dim 32"):
        minivit.init.mimetic_attention_(qkv, proj, 5)
    for none in (0, -4):
        with pytest.raises(ValueError, match=f"heads is {none}; it must divide dim 32"):
            minivit.init.mimetic_attention_(qkv, proj, none)
    with pytest.raises(ValueError, match="heads is 5; it must divide dim 32"):
        minivit.init.mimetic_factors(32, 5)
    with pytest.raises(ValueError, match=r"qkv \(90, 32\)"):
        minivit.init.mimetic_attention_(qkv[:90], proj, 4)
    few, wide = (proj, proj[:16], proj[:16]), 3 * (qkv[:64],)
    for parts, out in ((few, proj), (wide, qkv[:64].T)):
        with pytest.raises(ValueError, match=r"as many heads of key and value .* dim / heads wide"):
            minivit.init.mimetic_attention_(parts, out, 4)
    with pytest.raises(ValueError, match=r"heads is 2\.0; it must divide dim 32"):
        minivit.init.mimetic_attention_(qkv, proj, 2.0)
    with pytest.raises(ValueError, match=r"are Linear and Tensor, not tensors; .*\.weight"):
        minivit.init.mimetic_attention_(torch.nn.Linear(32, 96), proj, 4)
    with pytest.raises(ValueError, match=r"weights are torch\.int64, not floating point"):
        minivit.init.mimetic_attention_(qkv.long(), proj, 4)
    assert not qkv.any()


def test_weights_that_hold_no_numbers_are_refused():
    with pytest.raises(ValueError, match=r"blocks\.0\.attn: weights on the meta device"):
        minivit.init.mimetic_(tiny_vit("minivit").to("meta"))
    for base in minivit.bases.BASES.values():
        with pytest.raises(ValueError, match="weights on the meta device hold no numbers"):
            base(tiny_vit("timm").to("meta"))


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_sharded_are_refused(kind, alone):
    """By a sentence, and not by torch's on mixed tensors."""
    from torch.distributed.fsdp import fully_shard

    model = fully_shard(tiny_vit(kind), mesh=alone)
    with pytest.raises(
        ValueError, match=r"att.*' has sharded .* initialize or read it before fully_"
    ):
        minivit.init.mimetic_(model)
    if kind != "torchvision":
        attn = attention_modules(model)[0]
        with pytest.raises(ValueError, match=r"^weights are sharded .* before fully_shard"):
            minivit.init.mimetic_attention_(attn.qkv.weight, attn.proj.weight, 3)


@pytest.mark.parametrize("attention", ["mimetic", "norm_matched", "rotated"])
@pytest.mark.parametrize("base", minivit.bases.BASES)
def test_defaults_of_the_callers_change_no_number(base, attention):
    """Of type and device; meta stands for a GPU, whose tensors do not mix with the CPU's either."""

    def weights(device="cpu"):
        model = tiny_vit("minivit")
        with torch.device(device):
            return minivit.init.initialize_(model, base, attention, seed=0).state_dict()

    expected = weights()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights("meta").items())
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            found = weights()
        finally:
            torch.set_default_dtype(torch.float32)
        assert all(torch.equal(tensor, expected[name].to(dtype)) for name, tensor in found.items())


@pytest.mark.parametrize("attention", ["mimetic", "norm_matched", "rotated"])
def test_autocast_of_the_caller_changes_no_number(attention):
    def weights(enabled):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            model = minivit.init.initialize_(tiny_vit("timm"), "torch_default", attention, seed=0)
        return model.state_dict().values()

    assert all(map(torch.equal, weights(True), weights(False)))


@pytest.mark.parametrize("seed", [1.0, True, "1"])
def test_a_seed_that_is_no_int_is_refused(seed):
    """1.0 would be another stream than 1, and say nothing."""
    with pytest.raises(ValueError, match=f"seed is {seed!r}; it must be an int"):
        minivit.init.initialize_(tiny_vit("minivit"), "torch_default", "plain", seed=seed)


def test_an_unknown_arm_is_named():
    with pytest.raises(ValueError, match="'mimetc' is not one of plain, mimetic"):
        minivit.init.initialize_(tiny_vit("minivit"), "torch_default", "mimetc", seed=0)
