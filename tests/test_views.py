"""What an explorer shows is what the package computes, at any setting of its sliders."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minivit import AttentionWeights, Mimetic, diagonal_stats, mimetic_attention_, ov, qk
from minivit.circuits import split_heads
from minivit.model import sincos_positions
from minivit.runtime import stream
from minivit.views import CheckpointView, ContentView, Goal, InitializerView, Matrix, readable

DIM = 24
TOKENS = F.layer_norm(sincos_positions(4, DIM), (DIM,))
SETTINGS = {"alpha_qk": 0.3, "beta_qk": 0.9, "alpha_ov": 0.5, "beta_ov": 0.2}


def layer(heads, seed):
    qkv, proj = torch.zeros(3 * DIM, DIM), torch.zeros(DIM, DIM)
    mimetic_attention_(qkv, proj, heads, Mimetic(**SETTINGS), generator=stream(seed, "attention"))
    return split_heads(qkv, proj, heads)


def matrices(view):
    return {panel.title: panel for panel in view.panels if isinstance(panel, Matrix)}


@pytest.mark.parametrize("heads, seed", [(1, 0), (2, 1), (6, 2)])
def test_the_layer_shown_is_the_one_that_mimetic_writes(heads, seed):
    W_Q, W_K, W_V, W_O = layer(heads, seed)
    shown = matrices(InitializerView(TOKENS, seed=seed)(**SETTINGS, heads=heads))
    assert np.allclose(shown["W_Q W_Kᵀ of head 1"].values, W_Q[0] @ W_K[0].T, atol=1e-5)
    if heads == 1:  # of more heads, others draw noise before OV does
        assert np.allclose(shown["W_V W_proj"].values, W_V[0] @ W_O[0], atol=1e-5)


def test_numbers_and_lines_belong_to_the_matrices():
    view = InitializerView(TOKENS)(**SETTINGS, heads=3)
    product = torch.tensor(matrices(view)["W_Q W_Kᵀ of head 1"].values)
    stats = diagonal_stats(product, rank=DIM // 3)
    assert view.numbers["QK diagonal"] == pytest.approx(stats.mean.item())
    assert view.numbers["QK cosine with I"] == pytest.approx(stats.cosine.item())
    assert view.numbers["at most"] == pytest.approx(math.sqrt(1 / 3))
    lines = view.panels[2].lines
    singular = torch.linalg.svdvals(product)[: DIM // 3]
    assert np.allclose(lines["QK, head 1"], singular, atol=1e-5)
    assert len(lines["target of QK"]) == len(lines["OV"]) == DIM


def test_attention_is_the_softmax_with_the_width_of_the_head():
    view = InitializerView(TOKENS)(**SETTINGS, heads=3)
    shown = matrices(view)
    product = torch.tensor(shown["W_Q W_Kᵀ of head 1"].values)
    maps = (TOKENS @ product @ TOKENS.T / math.sqrt(DIM / 3)).softmax(-1)
    assert shown["Attention of one patch"].mark == (2, 2)
    assert np.allclose(shown["Attention of one patch"].values.ravel(), maps[2 * 4 + 2], atol=1e-6)
    assert view.numbers["attention on itself"] == pytest.approx(maps.diagonal().mean().item())


def test_one_pair_can_be_shown_alone():
    view = InitializerView(TOKENS, pairs=("ov",))(alpha_ov=0.0, beta_ov=0.4)
    assert np.allclose(view.panels[0].values, -0.4 * np.eye(DIM))
    assert view.numbers["OV cosine with I"] == pytest.approx(-1) and len(view.panels) == 2


def test_nothing_is_a_setting_too():
    view = InitializerView(TOKENS)(**dict.fromkeys(SETTINGS, 0.0), heads=2)
    assert readable(view.numbers["QK cosine with I"]) == "undefined"
    assert view.numbers["patches attended"] == pytest.approx(16)


def weights():
    parts = torch.randn(4, 2, 3, DIM, DIM // 3, generator=torch.Generator().manual_seed(0))
    return AttentionWeights(W_Q=parts[0], W_K=parts[1], W_V=parts[2], W_O=parts[3].mT)


def test_a_checkpoint_shows_the_head_that_was_asked_for():
    own = weights()
    view = CheckpointView(own)(layer=2, head=3)
    shown = matrices(view)
    assert np.allclose(shown["W_Q W_Kᵀ"].values, qk(own)[1, 2], atol=1e-5)
    assert np.allclose(shown["W_V W_O, head"].values, ov(own)[1, 2], atol=1e-5)
    assert np.allclose(shown["W_V W_proj"].values, ov(own)[1].sum(0), atol=1e-4)
    stats = diagonal_stats(ov(own)[1].sum(0))
    chance = (stats.mean / stats.chance).item()
    assert view.numbers["OV diagonal / chance"] == pytest.approx(chance, rel=1e-4)


def test_heads_of_a_checkpoint_share_colours_and_axes():
    view = CheckpointView(weights(), widest=10)
    views = [view(layer=layer, head=head) for layer in (1, 2) for head in (1, 2, 3)]
    assert len({panel.limit for v in views for panel in v.panels[:3]}) == 1
    assert len({v.panels[3].limit for v in views}) == 1
    top = max(line.max() for v in views for name, line in v.panels[3].lines.items() if name == "QK")
    assert views[0].panels[3].limit == pytest.approx(top, rel=1e-4)
    assert views[0].panels[0].values.shape == (10, 10) and "10 rows" in views[0].panels[0].note


def test_content_goes_from_positions_alone_to_content_alone():
    g = torch.Generator().manual_seed(0)
    content, positions = 5 * torch.randn(16, DIM, generator=g), 0.1 * sincos_positions(4, DIM)
    view = ContentView(content, positions)
    at = {r: view(ratio=r, beta_qk=0.7, query=6) for r in (0.0, 1.0, 1e6)}
    for ratio, alone in ((0.0, positions), (1e6, content)):
        tokens = F.layer_norm(alone / alone.square().mean().sqrt(), (DIM,))
        assert np.allclose(at[ratio].panels[0].values, tokens @ tokens.T / DIM, atol=1e-3)
    assert at[1.0].panels[1].mark == (1, 1), "patch 6 of a grid of 4 × 4, counted from 1"
    # Equal shares at ratio 1, whatever the sizes that came in.
    mixed = positions / positions.square().mean().sqrt() + content / content.square().mean().sqrt()
    tokens = F.layer_norm(mixed, (DIM,))
    assert np.allclose(at[1.0].panels[0].values, tokens @ tokens.T / DIM, atol=1e-5)


def test_the_layer_that_sees_content_is_mimetic():
    content, positions = torch.zeros(16, DIM).fill_(1.0), sincos_positions(4, DIM)
    seen = ContentView(content, positions, heads=3, seed=4)(ratio=0.0, beta_qk=0.7, query=11)
    same = InitializerView(
        F.layer_norm(positions / positions.square().mean().sqrt(), (DIM,)), seed=4
    )(**{**SETTINGS, "alpha_qk": 0.7, "beta_qk": 0.7}, heads=3)
    assert np.allclose(seen.panels[1].values, same.panels[-1].values, atol=1e-5)


def test_a_goal_says_what_is_missing():
    goal = Goal(words="w", ranges={"a": (0.2, 0.4), "b": (1.0, math.inf)})
    assert goal.missing({"a": 0.3, "b": 5.0}) == {}
    assert goal.missing({"a": 0.1, "b": 5.0}) == {"a": "too low"}
    assert goal.missing({"a": 0.5, "b": 0.0}) == {"a": "too high", "b": "too low"}
    assert "a" in goal.missing({"a": math.nan, "b": 5.0})
    with pytest.raises(ValueError, match=r"goal for \['b'\].*\['a'\]"):
        goal.missing({"a": 0.3})
