"""The atlas says what the checkpoints say, whole or not at all, and is small enough for git."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from minivit import atlas
from minivit.bases import normal
from minivit.catalog import CATALOG
from minivit.circuits import AttentionWeights, diagonal_stats, ov, qk
from minivit.pretrained import read_attention
from tools import atlas as maker

ROOT = Path(__file__).resolve().parents[1]
DEIT = "deit_tiny_patch16_224"
NAMES = (DEIT, "gpt2")


@pytest.fixture
def nothing_here(monkeypatch):
    """No checkpoint on this machine, as on Colab (conftest gives each test an empty cache)."""
    monkeypatch.delenv("MINIVIT_DATA", raising=False)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the atlas, which a test may damage."""
    folder = tmp_path / "atlas"
    shutil.copytree(atlas.FOLDER, folder)
    monkeypatch.setattr(atlas, "FOLDER", folder)
    atlas._index.cache_clear()
    yield folder
    atlas._index.cache_clear()


def random_weights(layers=2, heads=3, dim=48, gain=True):
    g = torch.Generator().manual_seed(0)
    width = dim // heads
    W_Q, W_K, W_V = (normal(layers, heads, dim, width, generator=g) for _ in range(3))
    W_O = normal(layers, heads, width, dim, generator=g)
    norm_gain = 1 + 0.3 * normal(layers, dim, generator=g) if gain else None
    return AttentionWeights(W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O, norm_gain=norm_gain)


def relative(found, expected):
    axes = (-2, -1)
    return torch.linalg.norm(found - expected, dim=axes) / torch.linalg.norm(expected, dim=axes)


def test_numbers_are_those_of_the_products():
    weights = random_weights()
    numbers, products = atlas.measure(weights), {"qk": qk(weights), "ov": ov(weights).sum(1)}
    gain = weights.norm_gain
    products["qk_gain"] = gain[:, None, :, None] * products["qk"] * gain[:, None, None, :]
    products["ov_gain"] = gain[:, :, None] * products["ov"]
    products["ov_heads"] = ov(weights)
    assert set(products) == set(atlas.PRODUCTS)
    for name, product in products.items():
        stats = diagonal_stats(product)
        for part in ("mean", "spread", "cosine"):
            found, expected = numbers[f"{name}.{part}"], getattr(stats, part)
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5), (name, part)
    for name in ("qk", "ov"):
        singular = torch.linalg.svdvals(products[name])[
            ..., : numbers[f"{name}.spectrum"].shape[-1]
        ]
        found = numbers[f"{name}.spectrum"] * numbers[f"{name}.norm"][..., None]
        assert torch.allclose(found, singular, rtol=1e-3, atol=1e-3)
        assert torch.allclose(numbers[f"{name}.spectrum"].norm(dim=-1), torch.tensor(1.0))
    assert torch.allclose(numbers["columns.W_K"][1, 2, 5], weights.W_K[1, 2, :, 5].norm())


def test_weights_without_a_gain_have_no_numbers_of_it():
    numbers = atlas.measure(random_weights(gain=False))
    assert "qk.mean" in numbers and not any("gain" in name for name in numbers)
    with pytest.raises(ValueError, match="norm_gain is None"):
        random_weights(gain=False).folded()


def test_packed_products_are_the_products_to_a_percent():
    weights = random_weights()
    tensors = atlas.pack(weights)
    assert all(tensors[f"{name}.codes"].dtype == torch.int8 for name in atlas.FACTORS)
    again = AttentionWeights(**{name: atlas._unpack(tensors, name) for name in atlas.FACTORS})
    assert relative(qk(again), qk(weights)).max() < 0.02
    assert relative(ov(again), ov(weights)).max() < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_reading_says_where_it_comes_from(name, nothing_here):
    reading = atlas.read(name)
    assert not reading.live and "minivit's atlas" in reading.source
    about = reading.about
    assert about["original"]["sha256"] == CATALOG[name].digest
    assert about["source"] == CATALOG[name].source and about["licence"] == CATALOG[name].licence
    assert about["made_by"]["tools/atlas.py"] == maker.VERSION


def test_the_weights_of_the_atlas_have_the_numbers_of_the_atlas():
    reading = atlas.load(DEIT)
    weights = reading.weights
    assert weights.W_Q.shape == weights.W_V.shape == (12, 3, 192, 64)
    assert weights.W_O.shape == (12, 3, 64, 192) and weights.norm_gain.shape == (12, 192)
    for name, product in {"qk": qk(weights), "ov_heads": ov(weights)}.items():
        stats, stored = diagonal_stats(product, rank=64), reading.stats(name)
        assert (stats.cosine - stored.cosine).abs().max() < 5e-3
        assert (stats.mean - stored.mean).abs().max() < 2e-3
        assert torch.allclose(stats.spread, stored.spread, rtol=1e-2)
        assert stats.ceiling == pytest.approx(stored.ceiling)
        assert torch.allclose(stored.ratio, stored.mean / stored.spread)
        assert torch.allclose(stored.chance, stored.spread / 192**0.5)
    assert reading.stats("ov").ceiling == 1.0


def test_the_record_of_the_surgery_is_whole():
    record = atlas.load(DEIT).about["surgery"]
    assert "200 training images of CIFAR-10" in record["images"] and len(record["rotations"]) == 5
    assert all(
        0 <= share <= 1 for share in (record["identity"], *record["rotations"], record["twice"])
    )


def test_gpt2_is_there_in_numbers_alone():
    reading = atlas.load("gpt2")
    assert reading.weights is None and reading.stats("qk").mean.shape == (12, 12)
    assert reading.stats("qk").ceiling == pytest.approx((64 / 768) ** 0.5)
    with pytest.raises(ValueError, match=r"product is 'vo'; gpt2 has \['qk', "):
        reading.stats("vo")


def test_a_changed_file_is_refused(copy):
    path = copy / f"{DEIT}.qk.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"its SHA-256 is [0-9a-f]{64}, and the atlas's index"):
        atlas.load(DEIT)
    atlas.load("gpt2")  # the other entry is whole
    path.unlink()
    with pytest.raises(ValueError, match="this file of the atlas is missing"):
        atlas.load(DEIT)


def test_what_is_not_there_is_said(nothing_here):
    with pytest.raises(ValueError, match=r"'vit' is not in the catalogue"):
        atlas.read("vit")
    with pytest.raises(ValueError, match=r"vit_b_16: not in the atlas.*vit_b_16-c867db91\.pth"):
        atlas.read("vit_b_16")
    with pytest.raises(ValueError, match="nobody: not in the atlas"):
        atlas.load("nobody")


def test_a_wrong_checkpoint_is_an_error_and_no_reason_to_take_the_atlas(tmp_path, monkeypatch):
    (tmp_path / CATALOG[DEIT].file).write_bytes(b"something else")
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"its SHA-256 is .* that of deit_tiny"):
        atlas.read(DEIT)


def test_it_is_small_and_goes_into_the_wheel():
    files = [path for path in atlas.FOLDER.iterdir() if path.suffix == ".safetensors"]
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) < 1_000_000 and sum(sizes) < 2_500_000
    listed = [file for about in atlas._index()["entries"].values() for file in about["files"]]
    assert sorted(listed) == sorted(path.name for path in files)
    if shutil.which("git") and (ROOT / ".git").exists():
        # hatchling leaves out what git ignores, and takes all else in the package's folder.
        names = [str(path) for path in (*files, atlas.FOLDER / "index.json")]
        ignored = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True)
        assert ignored.returncode == 1, ignored.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_still_gives_these_numbers(name, real_data):
    """Drift: what the code of today measures on the real file is what the atlas holds."""
    path = real_data / CATALOG[name].file
    if not path.is_file():
        pytest.skip(f"{path.name} is not in MINIVIT_DATA")
    stored, weights = atlas.load(name), read_attention(path)
    layers = slice(None) if name == DEIT else slice(11, 12)  # all of GPT-2 takes long
    weights = AttentionWeights(
        **{factor: getattr(weights, factor)[layers] for factor in atlas.FACTORS},
        norm_gain=weights.norm_gain[layers],
    )
    measured = atlas.measure(weights)
    assert measured.keys() == stored.numbers.keys()
    for number, tensor in measured.items():
        expected = stored.numbers[number][layers]
        assert torch.allclose(tensor, expected, rtol=1e-3, atol=1e-4), number
    if stored.weights is not None:
        assert relative(qk(stored.weights), qk(weights)).max() < 0.02
        assert relative(ov(stored.weights), ov(weights)).max() < 0.02


def test_the_script_makes_what_is_shipped(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    if not (real_data / CATALOG[DEIT].file).is_file():
        pytest.skip("DeiT-Tiny is not in MINIVIT_DATA")
    about = maker.make(DEIT, tmp_path)
    shipped = json.loads((atlas.FOLDER / "index.json").read_text("utf-8"))["entries"][DEIT]
    assert about["files"].keys() == shipped["files"].keys()
    assert about.keys() == shipped.keys() - {"surgery"}  # which takes minutes
    assert all(shipped[key] == about[key] for key in about.keys() - {"files"})
    live = atlas.read(DEIT)
    assert live.live and "from the checkpoint itself" in live.source
    assert relative(qk(live.weights), qk(atlas.load(DEIT).weights)).max() < 0.02
