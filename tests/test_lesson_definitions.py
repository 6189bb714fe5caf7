"""What the lessons write in their cells, tested off the values that the cells use.

A lesson's definitions are taken from the notebook itself, so that what a learner reads is tested.
"""

import ast
import json
import re
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from evidence_records import made_up, tuning
from models import tiny_vit
from scipy.fft import dctn
from scipy.stats import pearsonr, spearmanr
from torch import nn

import minivit
import minivit.impulse
import minivit.portraits
from benchmarks import char_lm
from benchmarks.study import Question
from minivit import ViT, ViTConfig, cifar10, diagonal_stats, protocol, train
from minivit.circuits import split_heads
from minivit.compare import DEFAULT_ARMS, Arm
from minivit.diagnostics import mean_share, residual_stream, token_std
from minivit.figures import alt_text
from minivit.init import BASES, random_orthogonal
from minivit.model import POOLS, POSITIONS, sincos_positions
from minivit.recipes import SMOKE
from minivit.runtime import stream
from minivit.schedule import decay_groups
from minivit.surgery import taken_out

pytestmark = pytest.mark.integration

LESSONS = Path(__file__).resolve().parents[1] / "lessons"


def definitions(lesson):
    """The imports, functions and classes of a lesson, and nothing else of it, as a namespace."""
    namespace = {"__name__": f"lesson_{lesson}"}
    for node in statements(lesson):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            exec(compile(ast.Module([node], []), lesson, "exec"), namespace)
    return SimpleNamespace(**namespace)


def statements(lesson):
    """The statements of all code cells, without IPython's own lines (%magic, !command)."""
    notebook = json.loads((LESSONS / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield from ast.parse("\n".join(x for x in lines if not re.match(r"\s*[%!]", x))).body


def written(lesson):
    """Names of the functions and classes that a lesson defines."""
    return [n.name for n in statements(lesson) if isinstance(n, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize("lesson", sorted(path.stem for path in LESSONS.glob("*.ipynb")))
def test_every_definition_of_a_lesson_is_used_here(lesson):
    """A definition needs a test: this file must read it from a variable named lesson_01a, say."""
    own = ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
    used = {ast.unparse(node) for node in own if isinstance(node, ast.Attribute)}
    assert {f"lesson_{lesson.split('_')[0]}.{name}" for name in written(lesson)} <= used


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(dim=10, heads=3, k=4):
    """W_Q, W_K, W_V, W_O for attention written as a function; heads · k need not be dim."""
    shapes = {"W_Q": (dim, k), "W_K": (dim, k), "W_V": (dim, k), "W_O": (k, dim)}
    return {name: numbers(heads, *s, seed=i) for i, (name, s) in enumerate(shapes.items())}


def by_torch(x, heads, module):
    """What nn.MultiheadAttention computes from the weights of an Attention; x (batch, …)."""
    theirs = nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(module.qkv.weight)
        theirs.in_proj_bias.copy_(0 if module.qkv.bias is None else module.qkv.bias)
        theirs.out_proj.weight.copy_(module.proj.weight)
        theirs.out_proj.bias.copy_(module.proj.bias)
    return theirs(x, x, x, average_attn_weights=False)  # (batch, token, dim), (batch, head, …)


# Lesson 01a.


@pytest.fixture(scope="module")
def lesson_01a():
    return definitions("01a_patches_and_attention")


@pytest.mark.parametrize("shape, p", [((2, 3, 12, 6), 3), ((1, 1, 4, 20), 2), ((3, 2, 5, 5), 1)])
def test_01a_patches(lesson_01a, shape, p):
    images = numbers(*shape)
    unfolded = F.unfold(images, p, stride=p).transpose(1, 2)  # the oracle: im2col
    assert torch.equal(lesson_01a.patchify(images, p), unfolded)
    assert torch.equal(lesson_01a.patches_loop(images[0], p), unfolded[0])


@pytest.mark.parametrize("dim, heads, k", [(10, 3, 4), (6, 1, 6), (5, 4, 2)])
def test_01a_attention_three_times_and_its_map(lesson_01a, dim, heads, k):
    given, x = weights(dim, heads, k), numbers(2, 7, dim, seed=9)
    expected, maps = torch.zeros_like(x), []
    for q, key, v, o in zip(*given.values(), strict=True):
        logits = torch.einsum("bid,dk,ek,bje->bij", x, q, key, x) / k**0.5
        maps.append(logits.exp() / logits.exp().sum(-1, keepdim=True))
        expected += maps[-1] @ x @ v @ o
    for attention in (lesson_01a.attention_batched, lesson_01a.attention_sdpa):
        assert torch.allclose(attention(x, **given), expected, rtol=1e-4, atol=1e-3)
    assert torch.allclose(lesson_01a.attention_loop(x[1], **given), expected[1], atol=1e-3)
    found = lesson_01a.attention_map(x[1], given["W_Q"], given["W_K"])
    assert torch.allclose(found, torch.stack(maps, dim=1)[1], atol=1e-4)


def test_01a_positions(lesson_01a):
    assert torch.allclose(lesson_01a.sincos(5, 5, 12), sincos_positions(5, 12), atol=1e-6)
    table = lesson_01a.sincos(2, 7, 16).view(2, 7, 16)  # (row, column, dim), wider than high
    square = sincos_positions(7, 16).view(7, 7, 16)
    assert torch.allclose(table, square[:2], atol=1e-6)
    high = lesson_01a.sincos(7, 2, 16).view(7, 2, 16)
    assert torch.allclose(high, square[:, :2], atol=1e-6)


# Lesson 01b.


@pytest.fixture(scope="module")
def lesson_01b():
    return definitions("01b_a_vit_and_its_two_forms")


def test_01b_attention_as_a_function(lesson_01a, lesson_01b):
    given, x = weights(), numbers(2, 7, 10, seed=9)
    assert torch.allclose(
        lesson_01b.attention(x, **given), lesson_01a.attention_batched(x, **given), atol=1e-3
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dim, heads", [(12, 3), (12, 1), (10, 5)])
def test_01b_attention_as_a_module(lesson_01b, dim, heads, bias):
    module, x = lesson_01b.Attention(dim, heads, bias), numbers(2, 7, dim)
    assert (module.qkv.bias is not None) == bias
    assert torch.allclose(module(x), by_torch(x, heads, module)[0], atol=1e-5)


@pytest.mark.parametrize("dim, heads", [(12, 3), (10, 5)])
def test_01b_weights_go_in_and_out(lesson_01b, dim, heads):
    given = weights(dim, heads, dim // heads)
    module, x = lesson_01b.Attention(dim, heads, bias=False), numbers(2, 7, dim)
    lesson_01b.write_(module, **given)
    found = module(x) - module.proj.bias
    assert torch.allclose(found, lesson_01b.attention(x, **given), rtol=1e-4, atol=1e-3)
    read = lesson_01b.read(module)
    assert all(torch.equal(a, b) for a, b in zip(read, given.values(), strict=True))
    package = split_heads(module.qkv.weight, module.proj.weight, heads)
    assert all(torch.equal(a, b) for a, b in zip(read, package, strict=True))


def test_01b_the_twin_that_forgets_the_transpose_is_wrong_for_the_reason_given(lesson_01b):
    given = weights(12, 3, 4)
    module = lesson_01b.Attention(12, 3, bias=False)
    lesson_01b.write_forgetting_(module, **given)
    transposed = lesson_01b.Attention(12, 3, bias=False)
    lesson_01b.write_(transposed, **given)
    wrong, right = (each.qkv.weight.view(3, 12, 12) for each in (module, transposed))
    assert torch.equal(wrong, right.transpose(1, 2))
    assert torch.equal(module.proj.weight, transposed.proj.weight.T)


def test_01b_mlp_and_block(lesson_01b):
    c = ViTConfig(dim=24, heads=4, mlp_ratio=2.5, norm_eps=0.1, qkv_bias=False)
    x = numbers(2, 7, 24)
    mlp, block = lesson_01b.MLP(24, 7), lesson_01b.Block(c)
    theirs = minivit.model.Block(c)
    theirs.load_state_dict(block.state_dict())
    assert torch.allclose(block(x), theirs(x), atol=1e-5)
    assert mlp(x).shape == x.shape and torch.allclose(mlp(x[:1])[0, 3], mlp(x[0, 3]), atol=1e-6)


def test_01b_patches_to_tokens(lesson_01a, lesson_01b):
    c = ViTConfig(channels=2, patch_size=3, image_size=9, dim=20, heads=4)
    embed, images = lesson_01b.PatchEmbed(c), numbers(2, 2, 9, 9)
    by_matrix = lesson_01a.patchify(images, 3) @ embed.proj.weight.flatten(1).T + embed.proj.bias
    assert torch.allclose(embed(images), by_matrix, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("pool", POOLS)
def test_01b_position_table(lesson_01b, pool, positions):
    c = ViTConfig(image_size=15, patch_size=5, dim=16, heads=2, pool=pool, positions=positions)
    table = lesson_01b.position_table(c)
    assert torch.equal(table.data, minivit.model.initial_positions(c))
    assert isinstance(table, nn.Parameter) == (positions != "sincos")


OTHER_SIZES = {"image_size": 15, "patch_size": 5, "channels": 2, "classes": 7, "dim": 24}
OTHER_SIZES |= {"depth": 3, "heads": 4, "mlp_ratio": 1.5, "norm_eps": 0.01}


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("pool", POOLS)
def test_01b_vit_is_the_packages(lesson_01b, pool, positions, qkv_bias):
    c = ViTConfig(pool=pool, positions=positions, qkv_bias=qkv_bias, **OTHER_SIZES)
    mine, package = lesson_01b.ViT(c), minivit.ViT(c)
    for seed, parameter in enumerate(mine.parameters()):
        parameter.data = 0.3 * numbers(*parameter.shape, seed=seed)
    package.load_state_dict(mine.state_dict())
    images = numbers(2, 2, 15, 15)
    assert torch.allclose(mine(images), package(images), atol=1e-4)


def test_01b_vit_is_timms(lesson_01b):
    theirs = tiny_vit("timm")
    c = tiny_vit("minivit").config
    mine = lesson_01b.ViT(c)
    for seed, parameter in enumerate(mine.parameters()):
        parameter.data = 0.2 * numbers(*parameter.shape, seed=seed)
    theirs.load_state_dict(mine.state_dict())
    images = numbers(2, 3, c.image_size, c.image_size)
    assert torch.allclose(mine(images), theirs.eval()(images), atol=1e-4)


def test_01b_cosine(lesson_01b):
    A, B = numbers(3, 5), numbers(3, 5, seed=1)
    expected = F.cosine_similarity(A.flatten(), B.flatten(), dim=0)
    assert torch.isclose(lesson_01b.cosine(A, B), expected)
    assert torch.isclose(lesson_01b.cosine(A, -3 * A), torch.tensor(-1.0))


def test_01b_correlations(lesson_01b):
    a, b = numbers(36), numbers(36, seed=1)
    assert lesson_01b.correlated(a, b) == pytest.approx(pearsonr(a, b).statistic, abs=1e-5)
    by_ranks = lesson_01b.correlated(lesson_01b.ranks(a), lesson_01b.ranks(b))
    assert by_ranks == pytest.approx(spearmanr(a, b).statistic, abs=1e-5)
    assert torch.equal(lesson_01b.ranks(a), lesson_01b.ranks(a.exp()))


# Lesson 02.


@pytest.fixture(scope="module")
def lesson_02():
    return definitions("02_reading_pretrained_weights")


@pytest.mark.parametrize("lead, dim", [((), 9), ((4,), 30), ((2, 5), 17)])
def test_02_significance_and_cosine(lesson_02, lead, dim):
    product = numbers(*lead, dim, dim) + 0.7 * torch.eye(dim)
    stats = diagonal_stats(product)
    found = lesson_02.significance(product)
    assert torch.allclose(found, stats.mean / stats.chance, rtol=1e-4)
    cosine = F.cosine_similarity(product.flatten(-2), torch.eye(dim).flatten(), dim=-1)
    assert torch.allclose(lesson_02.cosine_with_I(product), cosine, atol=1e-5)


def test_02_rest_is_what_no_multiple_of_I_takes_away(lesson_02):
    product = numbers(11, 11) - 3 * torch.eye(11)
    rest = lesson_02.rest(product)
    taken = product - rest
    assert torch.allclose(taken, taken[0, 0] * torch.eye(11), atol=1e-6)
    for nearby in (taken[0, 0] + 0.1, taken[0, 0] - 0.1):
        assert rest.norm() < (product - nearby * torch.eye(11)).norm()


def test_02_averages_over_rotations(lesson_02):
    product = numbers(5, 5) + 2 * torch.eye(5)
    # The lesson's own generator, which is no definition.
    lesson_02.averages.__globals__["g"] = torch.Generator().manual_seed(0)
    first, last = lesson_02.averages(product, [1, 3000])
    values = torch.linalg.svdvals
    assert torch.allclose(values(first), values(product), atol=1e-4), "one turn, nothing else"
    assert not torch.allclose(first, product, atol=0.1)
    assert torch.allclose(last, product.diagonal().mean() * torch.eye(5), atol=0.1)


def test_02_correlation(lesson_02):
    a, b = numbers(3, 4, 50), numbers(3, 4, 50, seed=1)
    expected = np.corrcoef(a[2, 1], b[2, 1])[0, 1]
    assert lesson_02.correlation(a, b)[2, 1] == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(lesson_02.correlation(a, 5 - 2 * a), torch.tensor(-1.0))


@pytest.mark.parametrize("dim, heads", [(12, 3), (10, 5), (8, 1)])
def test_02_attention_without_a_part(lesson_02, dim, heads):
    model = ViT(ViTConfig(dim=dim, depth=1, heads=heads, patch_size=16, image_size=32))
    x, part = numbers(2, 7, dim), numbers(1, heads, dim, dim, seed=1)
    attention = model.blocks[0].attn
    with taken_out(model, part):
        expected = attention(x)
    assert torch.allclose(lesson_02.WithoutPart(attention, part[0])(x), expected, atol=1e-5)
    nothing = lesson_02.WithoutPart(attention, 0 * part[0])
    assert torch.allclose(nothing(x), attention(x), atol=1e-5)


# Lesson 03.

NINE = ViTConfig(image_size=12, patch_size=4, dim=48, depth=3, heads=4, positions="sincos_learned")


@pytest.fixture
def lesson_03():
    """With another grid, network and batch than the lesson's in the place of its variables."""
    lesson = definitions("03_why_the_identity")
    given = lesson.attend.__globals__
    given["W"], given["fineness"] = lesson.waves(3)
    given |= {"pixels": numbers(5, 3, 12, 12), "depth": NINE.depth}
    given["recipe"] = SimpleNamespace(model=NINE)
    return lesson


def network(attention="mimetic", config=NINE, seed=1):
    net = minivit.initialize_(minivit.ViT(config), "torch_default", attention, seed=seed)
    return net.requires_grad_(False)


def test_03_attention_from_the_product(lesson_03):
    x, QK = numbers(2, 1, 7, 12), numbers(3, 12, 12, seed=1)  # not symmetric
    y = F.layer_norm(x, (12,)).expand(2, 3, 7, 12)
    expected = F.scaled_dot_product_attention(y @ QK, y, torch.eye(7), scale=5**-0.5)
    assert torch.allclose(lesson_03.attend(x, QK, 5), expected, atol=1e-5)


def test_03_three_numbers_of_a_map(lesson_03, capsys):
    maps = numbers(2, 3, 25, 25).softmax(-1)  # a grid of five by five
    own, near, entropy = [], [], []
    for attention in maps.flatten(0, 1):
        for q, row in enumerate(attention):
            own.append(row[q])
            close = [p for p in range(25) if abs(p // 5 - q // 5) <= 1 and abs(p % 5 - q % 5) <= 1]
            near.append(row[close].sum())
            entropy.append(torch.distributions.Categorical(row).entropy())
    own, near, entropy = (torch.stack(each).mean() for each in (own, near, entropy))
    assert torch.isclose(lesson_03.on_itself(maps), own)
    assert torch.isclose(lesson_03.within_3x3(maps), near)
    assert torch.isclose(lesson_03.patches_attended(maps), entropy.exp())
    assert torch.isclose(lesson_03.row_of("a name", maps), near)
    rest = (near - own) / (1 - own)  # neighbours alone, of what is not on itself
    expected = f"a name {own:.2f} {near:.2f} {rest:.2f} {entropy.exp():.0f}"
    assert capsys.readouterr().out.split() == expected.split()
    assert lesson_03.patches_attended(torch.eye(9)) == 1


@pytest.mark.parametrize("side", [3, 5])
def test_03_waves_are_the_cosine_transforms(lesson_03, side):
    pattern, fineness = lesson_03.waves(side)
    for u in range(side):
        for v in range(side):
            wave = pattern[u * side + v].view(side, side)
            one = dctn(wave.numpy(), norm="ortho")
            assert one[u, v] == pytest.approx(1, abs=1e-5) and abs(one).sum() < 1 + 1e-4
            assert fineness[u * side + v] == round((u * u + v * v) ** 0.5)


def test_03_energy_by_fineness(lesson_03):
    x = numbers(4, 9, 16) + numbers(4, 9, 1, seed=1)
    assert torch.allclose(
        lesson_03.centred(x),
        F.layer_norm(x, (16,), eps=0) * x.std(-1, False, keepdim=True),
        atol=1e-4,
    )
    assert lesson_03.by_fineness(torch.ones(9)).tolist() == [1, 3, 4, 1]  # of (u, v), u, v < 3
    energies = lesson_03.energies(x)
    assert torch.isclose(energies.sum(), lesson_03.centred(x).square().sum(), rtol=1e-4)
    mean = 9 * lesson_03.centred(x).mean(1).square().sum()
    assert torch.isclose(energies[0], mean, rtol=1e-4)


def test_03_what_passes(lesson_03):
    x = numbers(4, 9, 16)
    along, energy = lesson_03.compare(x, -3 * x)
    assert torch.allclose(along, torch.full((4,), -3.0)) and torch.allclose(
        energy, 9 * torch.ones(4)
    )
    along, energy = lesson_03.compare(x, torch.full((9, 9), 1 / 9) @ x)  # everywhere alike
    only_mean = torch.tensor([1.0, 0, 0, 0])
    assert torch.allclose(along, only_mean, atol=1e-5) and torch.allclose(
        energy, only_mean, atol=1e-5
    )
    along, energy = lesson_03.compare(x, x + 100)  # a shift of all numbers is not seen
    assert torch.allclose(along, torch.ones(4), atol=1e-3)


def test_03_minus_what_a_token_looks_at(lesson_03):
    x, beta = lesson_03.centred(numbers(9, 16)), 0.3
    sigma = x.square().mean(-1, keepdim=True).sqrt()
    assert torch.allclose(
        lesson_03.subtract(x, torch.eye(9), beta), (1 - beta / sigma) * x, atol=1e-5
    )
    A = numbers(9, 9, seed=1).softmax(-1)
    layer = x + A @ F.layer_norm(x, (16,), eps=0) @ (-beta * torch.eye(16))
    assert torch.allclose(lesson_03.subtract(x, A, beta), layer, atol=1e-5)


def test_03_shares_and_what_is_looked_at_in_each_layer(lesson_03):
    net, pixels = network(), lesson_03.attend.__globals__["pixels"]
    states = residual_stream(net, pixels)
    assert torch.allclose(lesson_03.shares(net), mean_share(states), atol=1e-5)
    sigmas, lam, mu = lesson_03.look(net)
    assert torch.allclose(sigmas, token_std(states[:-1]))
    for n, block in enumerate(net.blocks):
        y = block.norm1(states[n])
        seen = minivit.attention_maps(net, pixels)[n].mean(1) @ y
        along, energy = lesson_03.compare(y, seen)
        assert torch.allclose(lam[n], along) and torch.allclose(mu[n], energy)


@pytest.mark.parametrize("alpha, beta", [(0.0, 0.3), (0.5, 0.3), (0.2, 0.6)])
def test_03_the_repaired_prediction_holds_where_its_assumptions_do(lesson_03, alpha, beta):
    """One head, no MLP, soft attention, and the mean over eight draws of Z."""
    settings = minivit.Mimetic(alpha_qk=0.0, beta_qk=0.05, alpha_ov=alpha, beta_ov=beta)
    measured, foretold = [], []
    for seed in range(8):
        net = network("plain", replace(NINE, dim=96, heads=1), seed)
        minivit.mimetic_(net, settings, generator=torch.Generator().manual_seed(seed))
        for parameter in (p for block in net.blocks for p in block.mlp.fc2.parameters()):
            parameter.zero_()
        measured.append(lesson_03.shares(net))
        foretold.append(lesson_03.repaired(net, alpha, beta))
    measured, foretold = torch.stack(measured).mean(0), torch.stack(foretold).mean(0)
    assert torch.allclose(foretold, measured, atol=0.03)
    assert measured[0] - measured[-1] > 0.1  # something happened


def test_03_a_nudge_is_the_identity_in_the_products(lesson_03):
    net = network("plain", replace(NINE, heads=1)).double()
    pixels, nudges = numbers(5, 3, 12, 12).double(), numbers(2, NINE.depth).double()
    expected = deepcopy(net)
    for block, more_qk, more_ov in zip(expected.blocks, *nudges, strict=True):
        W_Q, W_K, W_V = block.attn.qkv.weight.chunk(3)  # as stored: transposed
        W_Q += more_qk * torch.linalg.inv(W_K.T)  # W_Q W_Kᵀ + b I
        W_V += more_ov * torch.linalg.inv(block.attn.proj.weight)
    assert torch.allclose(lesson_03.nudged(net, pixels, *nudges), expected(pixels), atol=1e-6)
    # With several heads the identity in OV is spread evenly over them.
    net, zero = network("plain"), torch.zeros(NINE.depth)
    found = lesson_03.nudged(net, pixels.float(), zero, nudges[1].float())
    for block, more_ov in zip(net.blocks, nudges[1].float(), strict=True):
        block.attn.register_forward_hook(partial(add_mean_of_heads, net, more_ov))
    assert torch.allclose(found, net(pixels.float()), atol=1e-4)


def add_mean_of_heads(net, more, module, inputs, output):
    y = inputs[0]
    query, key, _ = module.qkv(y).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4)
    maps = (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1)
    return output + more * maps.mean(1) @ y


def test_03_a_pull_is_how_fast_the_loss_falls(lesson_03):
    given = lesson_03.attend.__globals__
    labels = torch.arange(5), torch.tensor([7, 7, 7, 0, 1])
    found = lesson_03.pulls("vit_trunc_normal", 3, labels)
    net = minivit.initialize_(minivit.ViT(NINE), "vit_trunc_normal", "plain", seed=3)
    net, pixels, step = net.double().requires_grad_(False), given["pixels"].double(), 1e-4
    for which, layer in ((0, 1), (1, 0), (1, 2)):
        nudge = torch.zeros(2, NINE.depth, dtype=torch.float64)
        nudge[which, layer] = step
        for labelling, each in enumerate(labels):
            after, before = (
                F.cross_entropy(lesson_03.nudged(net, pixels, *b), each) for b in (nudge, -nudge)
            )
            slope = (before - after) / (2 * step)
            assert found[labelling, which, layer] == pytest.approx(slope.item(), rel=1e-2, abs=1e-6)


def test_03_patients_have_the_fault_that_their_name_says(lesson_03):
    def state(net):
        return net.state_dict()

    def differs(net, other):
        names = [name for name, p in state(net).items() if not p.equal(other[name])]
        return {re.sub(r"blocks\.\d+\.", "", name) for name in names}

    healthy = state(network(seed=0))
    assert not differs(lesson_03.patient(), healthy)
    again = lesson_03.patient("plain", settings=minivit.Mimetic())
    assert all(torch.allclose(p, healthy[name]) for name, p in state(again).items())
    sharp = lesson_03.patient(settings=minivit.Mimetic(beta_qk=3.0))
    assert differs(sharp, healthy) == {"attn.qkv.weight"}
    loud = lesson_03.patient(variant="patch_scale=3")
    assert differs(loud, healthy) == {"patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_03_the_control_is_read_from_records(lesson_03, monkeypatch, capsys):
    """The lesson's own cells, on a made-up study: a gain of 3 points, and of 1 shuffled."""
    rates = {"laptop": {base: dict.fromkeys(DEFAULT_ARMS, 1e-3) for base in BASES}}
    monkeypatch.setattr(protocol, "RATES", rates)

    def accuracy(arm):
        gain = 0.01 if "shuffled" in arm.variant else 0.03
        wobble = 1e-4 * ((arm.seed * 7 + len(arm.attention)) % 5)
        level = 0.5 - 0.06 * ("shuffled" in arm.variant)
        return level + 0.01 * arm.seed + gain * (arm.attention == "mimetic") + wobble

    records = made_up(accuracy)
    shown = []
    lesson_03.runs.__globals__["shipped"] = records
    found = lesson_03.runs("ov_flipped"), lesson_03.runs("mimetic", "positions=shuffled")
    assert [(len(r), r[0].attention, r[0].variant) for r in found] == [
        (5, "ov_flipped", ""),
        (5, "mimetic", "positions=shuffled"),
    ]
    given = lesson_03.attend.__globals__ | {"show": shown.append}
    for study, words in ((records, "5 seeds"), ([], "nothing to draw yet")):
        monkeypatch.setattr(minivit.records, "load_records", lambda found=study: found)
        for cell in ("control = {", "finished = {"):
            exec(source_of("03_why_the_identity", cell), given)
        printed = capsys.readouterr().out
        if study:
            assert re.search(r"gain in place: \+3\.0 .*n = 5 \(holds\)", printed)
            assert re.search(r"gain shuffled: \+1\.0 ", printed)
            assert re.search(r"gain in place − gain shuffled: \+2\.0 ", printed)
            assert re.search(r"plain in place − plain shuffled: \+6\.0 ", printed)
            assert words in alt_text(shown.pop())
        else:
            assert words in printed and printed.count("not finished") == 5 and not shown


def source_of(lesson, text):
    """The code cell of a lesson that holds this text."""
    notebook = json.loads((LESSONS / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    (cell,) = [cell for cell in cells if text in cell]
    return cell


# Lesson 04.


@pytest.fixture(scope="module")
def lesson_04():
    return definitions("04_building_the_initializer")


def own_layer(lesson_04, d, heads, **settings):
    """W_Q, W_K, W_V, W_O as the lesson's initializer writes them, and the noise it drew."""
    qkv, proj = torch.zeros(3 * d, d), torch.zeros(d, d)
    g = torch.Generator().manual_seed(4)
    lesson_04.write_mimetic_(qkv, proj, heads, **settings, generator=g)
    Z = torch.randn(heads + 1, d, d, generator=torch.Generator().manual_seed(4)) / d**0.5
    return split_heads(qkv, proj, heads), Z


def test_04_split_shares_the_load(lesson_04):
    target = numbers(7, 7)
    left, right = lesson_04.split(target)
    assert torch.allclose(left @ right, target, atol=1e-5)
    assert torch.allclose(left.norm(dim=0), right.norm(dim=1), atol=1e-5)


@pytest.mark.parametrize("d, heads", [(24, 1), (24, 4), (30, 3)])
def test_04_the_initializer_writes_its_equation(lesson_04, d, heads):
    (W_Q, W_K, W_V, W_O), Z = own_layer(lesson_04, d, heads, qk=(0.3, 0.9), ov=(0.6, 0.2))
    target = 0.6 * Z[heads] - 0.2 * torch.eye(d)
    assert torch.allclose((W_V @ W_O).sum(0), target, atol=1e-5)
    for head in range(heads):
        U, S, Vt = torch.linalg.svd(0.3 * Z[head] + 0.9 * torch.eye(d))
        k = d // heads
        nearest = U[:, :k] * S[:k] @ Vt[:k]
        assert torch.allclose(W_Q[head] @ W_K[head].T, nearest, atol=1e-5)


def test_04_the_initializer_is_the_packages(lesson_04):
    mine = own_layer(lesson_04, 30, 5, qk=(0.2, 0.5), ov=(0.1, 0.8))[0]
    qkv, proj = torch.zeros(90, 30), torch.zeros(30, 30)
    settings = minivit.Mimetic(alpha_qk=0.2, beta_qk=0.5, alpha_ov=0.1, beta_ov=0.8)
    g = torch.Generator().manual_seed(4)
    minivit.mimetic_attention_(qkv, proj, 5, settings, generator=g)
    package = split_heads(qkv, proj, 5)
    assert torch.allclose(mine[0] @ mine[1].mT, package[0] @ package[1].mT, atol=1e-5)
    assert torch.allclose((mine[2] @ mine[3]).sum(0), (package[2] @ package[3]).sum(0), atol=1e-5)


def test_04_the_twin_passes_the_mean_and_nothing_else(lesson_04):
    mine, twin = (
        lesson_04.new_layer(write_, d=36, heads=4, seed=2)
        for write_ in (lesson_04.write_mimetic_, lesson_04.write_untransposed_)
    )
    right, wrong = (lesson_04.ov_of(*layer) for layer in (mine, twin))
    assert torch.isclose(right.trace(), wrong.trace(), atol=1e-4)
    assert (wrong - right).norm() > 0.5 * right.norm()
    assert torch.equal(mine[0][:72], twin[0][:72]), "QK is not touched"


def test_04_a_lone_token_tells_the_map(lesson_04):
    qkv, proj = numbers(36, 12), numbers(12, 12, seed=1)
    _, _, W_V, W_O = split_heads(qkv, proj, 3)
    assert torch.allclose(lesson_04.ov_of(qkv, proj), (W_V @ W_O).sum(0), atol=1e-4)


def test_04_mean_diagonal_of_a_head(lesson_04):
    assert lesson_04.mean_diagonal(20, 5, alpha=0.0, beta=0.3) == pytest.approx(0.3 / 5, abs=1e-6)
    target = 0.4 * numbers(24, 24, seed=4) / 24**0.5 + 0.6 * torch.eye(24)
    U, S, Vt = torch.linalg.svd(target)
    expected = (U[:, :6] * S[:6] @ Vt[:6]).trace().item() / 24
    found = lesson_04.mean_diagonal(24, 4, alpha=0.4, beta=0.6, seed=4)
    assert found == pytest.approx(expected, abs=1e-5)


def test_04_cosine(lesson_04):
    A, B = numbers(3, 5), numbers(3, 5, seed=1)
    expected = F.cosine_similarity(A.flatten(), B.flatten(), dim=0).item()
    assert lesson_04.cosine_of(A, B) == pytest.approx(expected, abs=1e-6)


def test_04_fit_finds_what_was_put_in(lesson_04):
    d = 80
    product = 0.3 * numbers(2, d, d) / d**0.5 - 0.8 * torch.eye(d)
    alpha, beta = lesson_04.fit(product)
    assert torch.allclose(beta, torch.tensor(-0.8), atol=6 * 0.3 / d)
    assert torch.allclose(alpha, torch.tensor(0.3), rtol=6 / d)
    for other in (beta + 0.01, beta - 0.01):  # no other multiple of I is nearer
        near, far = (product - b[:, None, None] * torch.eye(d) for b in (beta, other))
        assert (near.norm(dim=(1, 2)) < far.norm(dim=(1, 2))).all()


def test_04_share_of_ten(lesson_04):
    d, left = 40, torch.linalg.qr(numbers(40, 40)).Q
    S = torch.linspace(2, 0, d)
    product = left * S @ torch.linalg.qr(numbers(40, 40, seed=1)).Q
    product = product - product.diagonal().mean() * torch.eye(d)
    squares = torch.linalg.svdvals(product) ** 2
    expected = (squares[:10].sum() / squares.sum()).item()
    assert lesson_04.share_of_ten(product + 3 * torch.eye(d)) == pytest.approx(expected, abs=1e-4)


# Lesson 05.


def test_05_one_epoch_is_the_packages(capsys):
    lesson_05 = definitions("05_training_on_cifar10")
    images = cifar10(source="synthetic")[0].subset(150, seed=0)
    config = replace(SMOKE.training, precision="float32", compile=False, batch_size=30, epochs=3)
    config = replace(config, learning_rate=3e-3, warmup_epochs=1.5)
    model, package = (
        minivit.initialize_(minivit.ViT(SMOKE.model), "torch_default", "plain", seed=3)
        for _ in range(2)
    )
    optimizer = torch.optim.AdamW(decay_groups(model, config.weight_decay), betas=config.betas)
    losses = [lesson_05.one_epoch(model, optimizer, images, config, epoch) for epoch in (1, 2, 3)]
    history = train(package, images, None, config, seed=0, device="cpu")
    assert losses == pytest.approx([each.train_loss for each in history.epochs], abs=1e-3)

    arm = SimpleNamespace(attention="rotated")
    lesson_05.report(arm, SimpleNamespace(epoch=7, validation_accuracy=0.4321))
    assert capsys.readouterr().out.split() == ["rotated", "epoch", "7", "43.2", "%"]


def test_05_gains_are_paired_and_only_those_that_were_recorded(monkeypatch, capsys):
    lesson_05 = definitions("05_training_on_cifar10")
    rates = {"laptop": {"vit_trunc_normal": dict.fromkeys(DEFAULT_ARMS, 1e-3)}}
    monkeypatch.setattr(protocol, "RATES", rates)
    level = {"plain": 0.4, "mimetic": 0.45, "rotated": 0.39}
    plan = [Question(name="made up", arms=tuple(level), bases=("vit_trunc_normal",))]
    records = made_up(lambda arm: level[arm.attention] + 0.01 * arm.seed, plan)
    monkeypatch.setattr("minivit.evidence.load_records", lambda: records)
    pairs = [("rotated", "plain"), ("mimetic", "norm_matched"), ("mimetic", "plain")]
    found = lesson_05.gains("vit_trunc_normal", pairs)
    assert list(found) == ["rotated − plain", "mimetic − plain"]
    assert [gain.mean for gain in found.values()] == pytest.approx([-0.01, 0.05])
    shown = []
    lesson_05.show_gains.__globals__["show"] = shown.append
    lesson_05.show_gains("vit_trunc_normal", pairs, "a title")
    assert [tuple(trace.y) for trace in shown[0].data] == [(name,) for name in found]
    lesson_05.show_gains("torch_default", pairs, "a title")
    assert len(shown) == 1 and capsys.readouterr().out == "not recorded yet\n"


# Lesson 06.


@pytest.fixture(scope="module")
def lesson_06():
    return definitions("06_comparing_with_pretrained")


def uneven(config, seed=3):
    """A network with gains and biases in its LayerNorms, as after training."""
    net = network("mimetic", config, seed)
    for n, (name, parameter) in enumerate(net.named_parameters()):
        if "norm" in name:
            parameter += 0.3 * numbers(*parameter.shape, seed=n)
    return net.double()


@pytest.mark.parametrize("pool", POOLS)
def test_06_a_twin_computes_the_same_and_a_wrong_one_does_not(lesson_06, pool):
    net, pixels = uneven(replace(NINE, pool=pool, classes=7)), numbers(5, 3, 12, 12).double()
    g = torch.Generator().manual_seed(2)
    R = lesson_06.keeping_ones(random_orthogonal(47, g)).double()
    anyhow = random_orthogonal(48, g).double()
    folded = lesson_06.fold_(deepcopy(net))
    assert torch.allclose(folded(pixels), net(pixels), atol=1e-6)
    assert all((p == ("weight" in n)).all() for n, p in folded.named_parameters() if "norm" in n)
    twin = lesson_06.turn_(deepcopy(folded), R)
    assert torch.allclose(twin(pixels), net(pixels), atol=1e-5)
    tokens, turned = residual_stream(folded, pixels), residual_stream(twin, pixels)
    assert torch.allclose(turned, tokens @ R, atol=1e-5)
    for wrong in (lesson_06.turn_(deepcopy(net), R), lesson_06.turn_(deepcopy(folded), anyhow)):
        assert (wrong(pixels) - net(pixels)).abs().max() > 0.01


def test_06_a_rotation_that_keeps_ones(lesson_06):
    R = lesson_06.keeping_ones(random_orthogonal(6, torch.Generator().manual_seed(0)))
    assert torch.allclose(R.T @ R, torch.eye(7), atol=1e-5)
    assert torch.allclose(torch.ones(7) @ R, torch.ones(7), atol=1e-5)
    mirrored = lesson_06.keeping_ones(-torch.eye(6))
    assert torch.allclose(mirrored, 2 / 7 - torch.eye(7), atol=1e-5)


def test_06_products_and_how_far_they_are_apart(lesson_06):
    net = uneven(NINE)
    QK, OV = lesson_06.products(net)
    for n, block in enumerate(net.blocks):
        W_Q, W_K, W_V, W_O = split_heads(block.attn.qkv.weight, block.attn.proj.weight, 4)
        gain = block.norm1.weight.float()
        expected = torch.diag(gain) @ W_Q @ W_K.mT @ torch.diag(gain)
        assert torch.allclose(QK[n], expected, atol=1e-4)
        assert torch.allclose(OV[n], (torch.diag(gain) @ W_V @ W_O).sum(0), atol=1e-4)
    A, B = numbers(2, 3, 3), numbers(2, 3, 3, seed=1)
    each = [((a - b).square().sum() / a.square().sum()).sqrt() for a, b in zip(A, B, strict=True)]
    assert lesson_06.apart(A, B) == pytest.approx(sum(each).item() / 2, abs=1e-5)


def test_06_numbers_of_a_product(lesson_06):
    M = numbers(2, 9, 4) @ numbers(2, 4, 9, seed=1)
    for each, matrix in enumerate(M.numpy()):
        values = np.linalg.svd(matrix, compute_uv=False)[:4]
        cosine = np.trace(matrix) / np.linalg.norm(matrix) / 3
        assert lesson_06.multiple_of_I(M)[each] == pytest.approx(np.trace(matrix) / 9, abs=1e-5)
        assert lesson_06.cosine_with_I(M)[each] == pytest.approx(cosine, abs=1e-5)
        spectrum = lesson_06.spectrum_of(M, 4)[each].numpy()
        assert spectrum == pytest.approx(values / np.linalg.norm(values), abs=1e-4)
    few = torch.tensor([[2.0, 2, 2, 0, 0], [5, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    assert lesson_06.share_in_use(few).tolist() == pytest.approx([3 / 5, 1 / 5, 1])


def test_06_profiles_over_relative_depth(lesson_06):
    assert lesson_06.relative_depth(3) == pytest.approx([1 / 6, 1 / 2, 5 / 6])
    look = {
        "qk.cosine": torch.tensor([[0.3, 0.1], [0.0, -0.2]]),
        "qk.spectrum": torch.ones(2, 2, 9),
        "ov.spectrum": torch.ones(2, 36),
    }
    assert lesson_06.share_of_ceiling(look).tolist() == pytest.approx([0.4, -0.2])
    flat = lesson_06.profile_gap(np.full(3, 0.2), np.full(7, -0.3))
    assert flat == pytest.approx(0.5)
    # The line 2 x on layers of both depths differs only beyond the outermost layers.
    lines = [2 * np.array(lesson_06.relative_depth(layers)) for layers in (8, 20)]
    assert lesson_06.profile_gap(*lines) < 0.02


def test_06_maps_of_grids_of_any_size(lesson_06):
    logits = numbers(2, 3, 4, 26, 26)
    maps = lesson_06.among_patches(logits.softmax(-1), 25)
    assert torch.allclose(maps, logits[..., 1:, 1:].softmax(-1), atol=1e-5)
    apart = [[np.hypot(i // 5 - j // 5, i % 5 - j % 5) / 5 for j in range(25)] for i in range(25)]
    expected = (maps * torch.tensor(apart).float()).sum(-1).mean(-1)
    assert torch.allclose(lesson_06.reach(maps), expected, atol=1e-5)
    middle = lesson_06.looks_at(maps, 1, 2)  # of 25 patches number 12 looks
    assert torch.allclose(middle, 25 * maps[1, 2, :, 12].mean(0).view(5, 5), atol=1e-5)
    assert middle.mean() == pytest.approx(1, abs=1e-5)


def looked_at(seed, accuracy):
    return SimpleNamespace(
        seed=seed, final_accuracy=None, epochs=[{"validation_accuracy": accuracy}]
    )


def test_06_the_part_of_the_gap_is_taken_within_a_seed(lesson_06, capsys):
    plain = [looked_at(0, 0.2), looked_at(1, 0.3)]
    mimetic = [looked_at(2, 0.9), looked_at(1, 0.4), looked_at(0, 0.25)]
    pretrained = [looked_at(1, 0.5), looked_at(0, 0.7)]
    assert lesson_06.closed(plain, mimetic, pretrained) == pytest.approx([0.1, 0.5])
    assert lesson_06.closed(plain, mimetic, []) == []
    lesson_06.tell(SimpleNamespace(attention="plain"), epoch_of(3, 0.125))
    assert capsys.readouterr().out.split() == ["plain", "epoch", "3", "12.5", "%"]


def epoch_of(epoch, accuracy):
    return SimpleNamespace(epoch=epoch, validation_accuracy=accuracy)


def test_06_recorded_portraits_are_read_seed_by_seed(lesson_06, monkeypatch, capsys):
    """The lesson's own cells: mimetic's OV goes from −0.7 to −0.6, plain's from 0 to −0.1."""
    lesson = "06_comparing_with_pretrained"
    shape = {"qk.spectrum": torch.ones(2, 2, 4), "ov.spectrum": torch.ones(2, 8)}

    def look(ov, qk):
        return {"ov.cosine": torch.full((2,), ov), "qk.cosine": torch.full((2, 2), qk)} | shape

    def made(arm, seed):
        start, change = (-0.7, 0.1) if arm == "mimetic" else (0.0, -0.1)
        record = replace(made_up(lambda arm: 0.5, [Question(name="one", seeds=(seed,))])[0],
                         attention=arm, seed=seed)  # fmt: skip
        return minivit.portraits.Portrait(
            record=record,
            start=look(start, 0.0),
            end=look(start + change + 0.01 * seed, 0.1),
            kept={"ov": torch.ones(2)},
        )

    given = dict(vars(lesson_06)) | {"arms": {"plain": None, "mimetic": None}}
    given["looks"] = {"DeiT-Tiny": look(-0.4, 0.2)}
    given["profiles"] = {"W_V W_proj": lambda each: each["ov.cosine"]}
    rates = {"laptop": {base: dict.fromkeys(DEFAULT_ARMS, 1e-3) for base in BASES}}
    monkeypatch.setattr(protocol, "RATES", rates)
    study = [made(arm, seed) for arm in ("mimetic", "plain") for seed in (0, 1, 2)]
    for found, words in ((study, "n = 3"), ([], "not recorded")):
        monkeypatch.setattr("minivit.portraits.load_portraits", lambda found=found: found)
        for cell in ("shipped = load_portraits", "nearer = {}"):
            exec(source_of(lesson, cell), given)
        assert words in capsys.readouterr().out
        if found:
            assert given["nearer"]["W_V W_proj"].mean == pytest.approx(0.12, abs=1e-3)


# Lesson 08.


@pytest.fixture(scope="module")
def lesson_08():
    return definitions("08_beyond")


def test_08_positions_that_shift(lesson_08):
    for dim, grid, offset in ((16, 5, (1, 0)), (40, 7, (-2, 3)), (8, 4, (0, 0))):
        table = sincos_positions(grid, dim).view(grid, grid, dim)
        R = lesson_08.shift_rotation(offset, dim)
        down, right = offset
        here = table[max(0, -down) : grid - max(0, down), max(0, -right) : grid - max(0, right)]
        there = table[max(0, down) : grid + min(0, down), max(0, right) : grid + min(0, right)]
        assert torch.allclose(here @ R, there, atol=1e-5)
        S = lesson_08.shift_matrix(grid, offset)
        assert torch.equal(S, minivit.impulse.shift_matrix(grid, offset))


def test_08_where_patches_look(lesson_08):
    table, M = numbers(9, 6), numbers(6, 6, seed=1)
    logits = torch.einsum("id,de,je->ij", table, M, table) / 5**0.5
    A = lesson_08.look(table, M, 5)
    assert torch.allclose(A, logits.exp() / logits.exp().sum(1, keepdim=True), atol=1e-5)
    S = torch.eye(9)[torch.arange(9).roll(1)]
    expected = sum(A[i, (i - 1) % 9].item() for i in range(9)) / 9
    assert lesson_08.weight_on(A, S) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dim, k", [(12, 5), (8, 8)])
def test_08_two_factors_of_one_size(lesson_08, dim, k):
    M = numbers(dim, dim)
    W_Q, W_K = lesson_08.two_factors(M, k, size=2.5)
    u, s, vt = np.linalg.svd(M.numpy())
    best = torch.tensor((u[:, :k] * s[:k]) @ vt[:k])
    product = W_Q @ W_K.T
    assert torch.allclose(product / product.norm(), best / best.norm(), atol=1e-5)
    assert W_Q.norm().item() == pytest.approx(2.5) == W_K.norm().item()


@pytest.mark.parametrize("grid, dim, k, content", [(6, 32, 9, 0.05), (5, 48, 48, 2.0)])
def test_08_an_impulse_head_is_the_packages(lesson_08, grid, dim, k, content):
    Y = F.layer_norm(sincos_positions(grid, dim), (dim,))
    for offset in ((0, 1), (-1, 2)):
        W_Q, W_K = lesson_08.impulse_head(Y, offset, k, size=3.0, content=content)
        Q, K = minivit.impulse.impulse_factors(Y, offset, k, content)
        assert torch.allclose(W_Q @ W_K.T, 9 * Q @ K.T, atol=1e-4)


def test_08_the_language_model_is_the_benchmarks(lesson_08):
    recipe = char_lm.CharRecipe(context=12, dim=24, depth=3, heads=4)
    theirs, text = char_lm.CharLM(17, recipe), torch.randint(17, (2, 9))
    ours = lesson_08.CharLM(17, context=12, dim=24, depth=3, heads=4)
    assert isinstance(ours.blocks[2].attn, lesson_08.CausalAttention)
    lesson_08.start_(ours, "ov_flipped", seed=4)
    char_lm.start_(theirs, "ov_flipped", seed=4)
    pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    assert all(n == m and torch.equal(a, b) for (n, a), (m, b) in pairs)
    assert torch.equal(ours(text), theirs(text))


def test_08_bits_are_of_the_last_ten_steps(lesson_08):
    lm, codes = lesson_08.CharLM(7), torch.randint(7, (300,))
    found = lesson_08.bits_after(lm, codes, 12, stream(1, "order"), rate=0.0)
    order, expected = stream(1, "order"), []
    for _ in range(12):
        at = torch.randint(300 - 33, (16, 1), generator=order) + torch.arange(33)
        p = lm(codes[at[:, :-1]]).softmax(-1).gather(2, codes[at[:, 1:], None])
        expected.append(-p.log2().mean().item())
    assert found == pytest.approx(np.mean(expected[-10:]), abs=1e-5)
    before = lm.head.weight.clone()
    assert lesson_08.bits_after(lm, codes, 40, stream(1, "order"), rate=3e-3) < found
    assert not torch.equal(lm.head.weight, before)


def test_08_report_and_test_bits(lesson_08, capsys):
    lesson_08.report.__globals__["recipe"] = SMOKE
    for epoch in (1, SMOKE.training.epochs):
        arm = SimpleNamespace(attention="impulse")
        lesson_08.report(arm, SimpleNamespace(epoch=epoch, validation_accuracy=0.25))
    assert capsys.readouterr().out.split() == ["impulse:", "done,", "25.0", "%"]
    assert lesson_08.last_bits(SimpleNamespace(epochs=[{}, {"test_bits": 2.5}])) == 2.5


def test_08_a_program_under_a_launcher(lesson_08, capsys):
    good = "import json, sys; json.dump([len(sys.orig_argv)], open(sys.argv[1], 'w'))"
    assert lesson_08.losses_of(good) == [3] and lesson_08.losses_of(good, "-B") == [4]
    assert lesson_08.losses_of("raise OSError('no such luck')") is None
    assert "it did not run here: OSError: no such luck" in capsys.readouterr().out


def test_08_operations_are_counted_from_the_matrices(lesson_08):
    config = ViTConfig(dim=24, depth=3, heads=2, mlp_ratio=2.5, patch_size=8, pool="cls")
    matrices = sum(p.numel() for p in ViT(config).blocks.parameters() if p.ndim == 2)
    maps = 2 * config.depth * config.tokens**2 * config.dim  # scores, and the mixture
    expected = 3 * 2 * (config.tokens * matrices + maps) * 7 * 11 / 1e15
    assert lesson_08.petaflop(config, 7, 11) == pytest.approx(expected)


def test_08_the_language_records_are_read(lesson_08, capsys):
    """The lesson's own cells, on made-up runs: +I is 0.1 bits better, mimetic as good as plain."""
    gain = {"plain": 0.0, "mimetic": 0.0, "ov_flipped": -0.1, "norm_matched": 0.02}
    part = {"train_loss": 4.0, "validation_accuracy": 0.3, "seconds": 1.0}
    made = [
        minivit.records.Record(
            scale="char_lm",
            base="torch_default",
            attention=arm,
            variant="",
            seed=seed,
            role="final",
            learning_rate=0.01,
            recipe={"steps": 40, "checks": 2},
            data={"name": "help"},
            versions={},
            device="a cpu",
            commit=None,
            dirty=False,
            epochs=[
                part | {"epoch": 1, "validation_bits": 5.0},
                part
                | {
                    "epoch": 2,
                    "validation_bits": 4.0 + gain[arm],
                    "test_bits": 3 + seed + gain[arm],
                },
            ],
            final_accuracy=0.3,
        )
        for arm in gain
        for seed in (0, 1, 2)
    ]
    shown = []
    given = dict(vars(lesson_08), language=made, language_arms=list(gain), language_order=[])
    given |= {"show": shown.append}
    for cell in ("by_arm = {", "def last_bits"):
        exec(source_of("08_beyond", cell), given)
    printed = capsys.readouterr().out
    assert "ov_flipped − plain: -0.100 [-0.100, -0.100], n = 3" in printed
    assert "mean of 3 seeds" in str(shown[0].layout.annotations)
    assert tuple(shown[0].data[2].x) == (20, 40)
    assert shown[0].data[2].y[-1] == pytest.approx(3.9)
    given["language"] = []
    for cell in ("by_arm = {", "def last_bits"):
        exec(source_of("08_beyond", cell), given)
    printed = capsys.readouterr().out
    assert "not recorded" in printed and printed.count("not finished") == 3 and len(shown) == 1


# Lesson 07.

CROPPED = "crop=4,batch_size=64"
HEAP = {  # (base, attention, variant, learning rate, seed) → last accuracy
    ("vit_trunc_normal", "plain", CROPPED, 1e-3, 100): 0.30,
    ("torch_default", "plain", CROPPED, 1e-3, 100): 0.40,
    ("torch_default", "plain", "", 3e-4, 100): 0.45,
    ("torch_default", "plain", "", 1e-3, 100): 0.50,
    ("torch_default", "plain", "", 1e-3, 101): 0.52,
    ("torch_default", "plain", "batch_size=32", 1e-3, 100): 0.50,  # what the recipe is anyway
    ("torch_default", "mimetic", "", 3e-4, 100): 0.53,
    ("torch_default", "mimetic", "", 3e-4, 101): 0.56,
    ("torch_default", "mimetic", "", 1e-3, 100): 0.55,
    ("torch_default", "mimetic", "", 1e-3, 101): 0.555,
}


@pytest.fixture
def lesson_07():
    lesson = definitions("07_is_it_real")
    given = lesson.headline.__globals__
    names = ("base", "attention", "variant", "learning_rate", "seed")
    arms = {Arm(**dict(zip(names, key, strict=True))): value for key, value in HEAP.items()}
    given["sweep"] = tuning(arms.get, arms)
    given["tried"] = {"plain": [3e-4, 1e-3], "mimetic": [3e-4, 1e-3]}
    given["best"] = {"plain": 1e-3, "mimetic": 1e-3}
    return lesson


def test_07_an_epoch_is_the_last_or_the_best(lesson_07):
    run = lesson_07.runs_of("plain")[0]
    values = enumerate((0.2, 0.7, 0.6), start=1)
    epochs = [{**run.epochs[0], "epoch": n, "validation_accuracy": v} for n, v in values]
    run = replace(run, epochs=epochs)
    assert lesson_07.last_epoch(run) == 0.6 and lesson_07.best_epoch(run) == 0.7


def test_07_a_headline_shrinks_with_every_rule(lesson_07):
    rules = lesson_07.same_base, lesson_07.same_training, lesson_07.best_rate
    gains = [lesson_07.headline(*rules[:n])[0] for n in range(4)]
    assert gains == pytest.approx([0.26, 0.16, 0.11, 0.055])
    _, plain, mimetic = lesson_07.headline()
    assert plain.base == "vit_trunc_normal" and (mimetic.learning_rate, mimetic.seed) == (3e-4, 101)
    assert len(lesson_07.runs_of("plain", *rules)) == 3
    # The score is mimetic's only: plain is read at its end.
    assert lesson_07.headline(score=lambda run: 1.0)[0] == pytest.approx(0.7)


def test_07_a_ledger_depends_on_the_order_and_its_sum_does_not(lesson_07):
    rules = {"base": lesson_07.same_base, "training": lesson_07.same_training}
    rules["rate"] = lesson_07.best_rate
    forward, backward = lesson_07.ledger(rules), lesson_07.ledger(dict(reversed(rules.items())))
    assert list(forward.values()) == pytest.approx([-0.10, -0.05, -0.055])
    assert [backward[name] for name in rules] == pytest.approx([0.0, -0.20, -0.005], abs=1e-9)


def test_07_a_level_counts_each_seed_once(lesson_07):
    assert lesson_07.level("plain", 1e-3) == pytest.approx(0.51)
    assert lesson_07.level("mimetic", 3e-4) == pytest.approx(0.545)


def test_07_the_small_print_names_what_differs(lesson_07, capsys):
    assert lesson_07.flat({"a": 1, "b": {"c": {"d": 2}, "e": 3}}) == {"a": 1, "d": 2, "e": 3}
    _, plain, mimetic = lesson_07.headline()
    found = lesson_07.differences(plain, mimetic)
    assert found["batch_size"] == (64, 32) and found["crop"] == (4, 0)
    assert found["learning_rate"] == (1e-3, 3e-4)
    assert set(found) == {"base", "attention", "seed", "batch_size", "crop", "learning_rate"}
    lesson_07.tell.__globals__["guesses"] = {"base": 7}
    lesson_07.tell("base", 0.25, 0.15)
    printed = capsys.readouterr().out
    assert "left: +15.0 points of +25.0" in printed and "worth 10.0 points; you said 7" in printed


def test_07_the_largest_of_k_draws(lesson_07):
    assert lesson_07.expected_max(1) == pytest.approx(0, abs=1e-9)
    assert lesson_07.expected_max(2) == pytest.approx(np.pi**-0.5)
    assert lesson_07.expected_max(3) == pytest.approx(1.5 * np.pi**-0.5)
    assert lesson_07.best_of([1, 2, 4], 2) == pytest.approx(1)
    assert lesson_07.best_of([1, 2, 4], 1) == pytest.approx(0)
    assert lesson_07.common_std([[0.0, 2.0], [1.0, 1.0, 4.0]]) == pytest.approx((8 / 3) ** 0.5)


def test_07_repeats_differ_in_nothing_but_the_seed(lesson_07):
    sweep = lesson_07.runs_of.__globals__["sweep"]
    found = lesson_07.repeats(sweep, lesson_07.last_epoch)
    assert sorted(map(sorted, found)) == [[0.5, 0.52], [0.53, 0.56], [0.55, 0.555]]


def test_07_the_winners_curse_is_that_of_the_largest_draw(lesson_07):
    n, p = 400, 0.3
    noise = (p * (1 - p) / n) ** 0.5
    assert lesson_07.too_high([p], n) == pytest.approx(0, abs=6 * noise / 2000**0.5)
    found = lesson_07.too_high([p] * 5, n)
    assert found == pytest.approx(noise * lesson_07.expected_max(5), rel=0.1)
    assert lesson_07.too_high([p, 0.9], n) < 6 * (0.09 / n) ** 0.5 / 2000**0.5  # no contest


def test_07_a_report_names_the_variant(lesson_07, capsys):
    arm = SimpleNamespace(attention="plain", variant="pool=cls", seed=11)
    lesson_07.report(arm, SimpleNamespace(epoch=3, validation_accuracy=0.4321))
    expected = ["plain", "pool=cls", "seed", "11", "epoch", "3", "43.2", "%"]
    assert capsys.readouterr().out.split() == expected


def test_07_final_runs_are_shown_or_said_to_be_missing(lesson_07, monkeypatch, capsys):
    """The lesson's own cells, on a made-up study: 3 points, a third of that with 8 heads."""
    table = {"laptop": {base: dict.fromkeys(DEFAULT_ARMS, 1e-3) for base in BASES}}
    monkeypatch.setattr(protocol, "RATES", table)

    def accuracy(arm):
        gain = {"heads=8": 0.01, "subset=45000,epochs=6": 0.02}.get(arm.variant, 0.03)
        gain -= 0.02 * ("centred" in arm.variant)
        level = 0.5 - 0.06 * (arm.base == "vit_trunc_normal") + 0.02 * ("scale=4" in arm.variant)
        level += 0.02 * (arm.variant == "qk_scale=2.6")
        level += 0.03 * arm.variant.endswith("position_scale=0.4")
        level += 0.02 * ("centred" in arm.variant)
        return level + gain * (arm.attention == "mimetic") + 1e-4 * ((arm.seed * 7) % 5)

    shown, given = [], lesson_07.arm.__globals__
    given |= {"show": shown.append, "forms": {"class token": "pool=cls"}}
    for study in (made_up(accuracy), []):
        given["finals"] = study
        assert len(lesson_07.arm("mimetic", "heads=8")) == (5 if study else 0)
        assert len(lesson_07.say({"a": None})) == 0
        for cell in ("recorded = say(", "fading = say(", "louder = {each", "doubts = say("):
            exec(source_of("07_is_it_real", cell), given)
        printed = capsys.readouterr().out
        if study:
            assert re.search(r"vit_trunc_normal: mimetic − rotated +\+3\.0 ", printed)
            assert re.search(r"on the other base +\+9\.0 ", printed)
            assert re.search(r"8 heads +\+1\.0 ", printed)
            assert re.search(r"class token +\+3\.0 ", printed)
            assert re.search(r"plain with patch embedding × 4 − plain +\+2\.0 ", printed)
            assert re.search(r"both × 4: mimetic − rotated +\+3\.0 ", printed)
            assert re.search(r"mimetic − rotated, logits as wide +\+1\.0 ", printed)
            assert re.search(r"plain with tokens × 0\.4 − plain +\+3\.0 ", printed)
            assert re.search(r"plain, vector out − plain +\+2\.0 ", printed)
            assert re.search(r"mimetic, vector out − mimetic +[+−]0\.0", printed)
            assert re.search(r"positions without what they share +\+1\.0 ", printed)
            assert re.search(r"× 4, without what positions share +\+1\.0 ", printed)
            assert re.search(r"the same, as large as the table +\+1\.0 ", printed)
            assert re.search(r"sin-cos positions × 1\.86 +\+3\.0 ", printed)
            assert re.search(r"gain with 1 head − gain with 8 +\+2\.0 ", printed)
            assert re.search(r"2,250 images, 40 epochs +\+3\.0 .*n = 3", printed)
            assert re.search(r"45,000 images, 6 epochs +\+2\.0 .*n = 5", printed)
            assert re.search(r"gain after 6 epochs − gain after 2 +−1\.0 .*n = 3", printed)
            assert len(shown) == 3 and "logits as wide +1.0" in alt_text(shown.pop())
            assert "8 heads +1.0" in alt_text(shown.pop())
            shown.clear()
        else:
            rows = 18 + len(given["changes"])  # 8 above them, 10 below
            assert "−" in printed and printed.count("not recorded yet") == rows and not shown
