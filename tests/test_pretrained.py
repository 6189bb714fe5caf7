"""Pretrained files: the same logits as where they come from, and nothing wrong gets in."""

import contextlib
import functools
import hashlib
import http.server
import pickle
import threading
from dataclasses import replace

import pytest
import torch
from models import tiny_vit

from minivit import pretrained
from minivit.archives import cache_dir
from minivit.circuits import AttentionWeights, diagonal_stats, ov, qk
from minivit.model import ViT, ViTConfig, save_model
from minivit.pretrained import CATALOG, load_pretrained, read_attention
from minivit.storage import write_tensors

SIZES = [(48, 3, 2, 16, 8), (64, 4, 3, 32, 4), (32, 1, 1, 24, 8)]  # dim, heads, depth, image, patch


def shaken(model):
    """The model with no parameter at a special value, so that a name put wrong shows."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=g))
    return model.eval()


@pytest.mark.parametrize("kind", ["timm", "torchvision"])
@pytest.mark.parametrize("sizes", SIZES)
def test_logits_equal_those_of_the_library_that_wrote_the_file(kind, sizes, tmp_path):
    dim, heads, depth, image_size, patch_size = sizes
    shape = {"dim": dim, "heads": heads, "depth": depth}
    theirs = shaken(tiny_vit(kind, image_size=image_size, patch_size=patch_size, **shape))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = load_pretrained(tmp_path / "weights.pth", heads=heads)
    images = torch.randn(2, 3, image_size, image_size)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-4)
    assert not ours.training


def test_the_table_of_names_is_one_to_one_onto_the_model():
    theirs = tiny_vit("torchvision").state_dict()
    renamed = pretrained.rename(theirs)
    assert len(renamed) == len(theirs)
    assert set(renamed) == set(tiny_vit("minivit").state_dict())


def test_minivits_own_files_are_known(tmp_path):
    model = shaken(ViT(ViTConfig(dim=32, depth=2, heads=4, positions="sincos")))
    save_model(model, tmp_path / "own.safetensors")
    again = load_pretrained(tmp_path / "own.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), model(images)) and again.config == model.config
    products = qk(read_attention(tmp_path / "own.safetensors"))
    assert torch.allclose(products, qk(AttentionWeights.of(model)))


def test_a_checkpoint_of_a_training_is_known(tmp_path):
    from minivit.data import cifar10
    from minivit.recipes import SMOKE
    from minivit.train import train

    model = ViT(SMOKE.model)
    few = cifar10(source="synthetic")[0].subset(50, seed=0)
    config = replace(SMOKE.training, epochs=1, warmup_epochs=0.0)
    train(model, few, None, config, checkpoint=tmp_path / "run.safetensors")
    again = load_pretrained(tmp_path / "run.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), model(images))


def test_heads_are_asked_for_where_the_width_does_not_tell(tmp_path):
    torch.save(tiny_vit("timm").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="width 48 does not tell the number of heads"):
        load_pretrained(tmp_path / "weights.pth")


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "none"])
def test_a_file_of_another_model_is_named_for_it(change, tmp_path):
    tensors = tiny_vit("timm").state_dict()
    if change == "missing":
        del tensors["blocks.1.norm2.bias"]
    elif change == "extra":
        tensors["dist_token"] = torch.zeros(1, 1, 48)
    elif change == "shape":
        tensors["blocks.1.mlp.fc2.weight"] = torch.zeros(3, 3)
    else:
        tensors = {"a": torch.zeros(3)}
    torch.save(tensors, tmp_path / "weights.pth")
    wanted = {
        "missing": r"blocks\.1\.norm2\.bias",
        "extra": "dist_token",
        "shape": r"blocks\.1\.mlp\.fc2\.weight",
        "none": "not a ViT in timm's or torchvision's naming",
    }
    with pytest.raises(ValueError, match=wanted[change]):
        load_pretrained(tmp_path / "weights.pth", heads=3)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("torch_writes", [True, False])
def test_code_in_a_pickle_is_never_run(torch_writes, tmp_path):
    bad, trace = tmp_path / "bad.pth", tmp_path / "trace"
    content = {"blocks": Malicious(trace)}
    if torch_writes:
        torch.save(content, bad)
    else:
        bad.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="nothing in it was run"):
        load_pretrained(bad)
    assert not trace.exists()
    pickle.loads(pickle.dumps(content))  # the attack itself works
    assert trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_a_sentence(suffix, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / f"weights{suffix}"
    tensors = tiny_vit("timm").state_dict()
    (torch.save if suffix == ".pth" else save_file)(tensors, path)
    for keep in (0, 10, path.stat().st_size // 2, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match=f"weights{suffix}"):
            load_pretrained(path, heads=3)


def test_an_unknown_name_lists_the_catalogue():
    with pytest.raises(ValueError, match=r"not a name in the catalogue .*deit_tiny"):
        load_pretrained("deit_small")


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A torchvision file on a server of our own, and a catalogue entry that points to it."""
    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    folder = tmp_path / "server"
    folder.mkdir()
    model = shaken(tiny_vit("torchvision"))
    torch.save(model.state_dict(), folder / "vit.pth")
    digest = hashlib.sha256((folder / "vit.pth").read_bytes()).hexdigest()[:8]
    with served(folder) as address:
        entry = replace(CATALOG["vit_b_16"], source=f"{address}/vit.pth", file="vit.pth")
        monkeypatch.setitem(CATALOG, "vit_b_16", replace(entry, digest=digest, heads=3))
        yield model


def test_a_download_is_checked_kept_and_not_repeated(published, monkeypatch):
    ours = load_pretrained("vit_b_16")
    images = torch.randn(1, 3, 16, 16)
    assert torch.allclose(ours(images), published(images), atol=1e-4)
    assert ours.preprocessing.interpolation == "bilinear"
    monkeypatch.setattr(pretrained, "_download", lambda *_: pytest.fail("downloaded again"))
    load_pretrained("vit_b_16")
    path = cache_dir() / "vit.pth"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="its SHA-256 begins"):
        load_pretrained("vit_b_16")


def test_a_download_with_another_digest_leaves_nothing(published, monkeypatch):
    monkeypatch.setitem(CATALOG, "vit_b_16", replace(CATALOG["vit_b_16"], digest="00000000"))
    with pytest.raises(ValueError, match="invalid hash value"):
        load_pretrained("vit_b_16")
    assert not list(cache_dir().glob("*.pth"))


def test_without_a_network_it_says_which_file_goes_where(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ValueError, match=r"put it as vit_b_32-d86f8d99\.pth into a folder"):
        load_pretrained("vit_b_32")


def gpt2_like(layout, heads=2, layers=2, prefix=""):
    """The same random weights in either layout, (in, out), 64 to a head."""
    dim, tensors = 64 * heads, {}
    g = torch.Generator().manual_seed(0)
    for n in range(layers):
        w = {part: torch.randn(dim, dim, generator=g) for part in ("query", "key", "value", "proj")}
        norm = torch.rand(dim, generator=g)
        if layout == "split":
            tensors |= {f"h.{n}.att.{part}.w": tensor for part, tensor in w.items()}
            tensors[f"h.{n}.att.norm.w"] = norm
        else:
            fused = torch.cat([w["query"], w["key"], w["value"]], dim=1)
            tensors[f"{prefix}h.{n}.attn.c_attn.weight"] = fused
            tensors[f"{prefix}h.{n}.attn.c_proj.weight"] = w["proj"]
            tensors[f"{prefix}h.{n}.ln_1.weight"] = norm
    return tensors


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_both_layouts_of_gpt2_are_the_same_maps(prefix, tmp_path):
    from safetensors.torch import save_file

    split, fused = gpt2_like("split"), gpt2_like("fused", prefix=prefix)
    save_file(split, tmp_path / "split.safetensors")
    save_file({name: t.contiguous() for name, t in fused.items()}, tmp_path / "fused.safetensors")
    a, b = (read_attention(tmp_path / f"{name}.safetensors") for name in ("split", "fused"))
    assert torch.equal(qk(a), qk(b)) and torch.equal(ov(a), ov(b))
    assert torch.equal(a.norm_gain, b.norm_gain)
    # The first head's QK by hand: (in, out) means x @ w, heads side by side.
    query, key = split["h.0.att.query.w"][:, :64], split["h.0.att.key.w"][:, :64]
    assert torch.allclose(qk(a)[0, 0], query @ key.T, atol=1e-3)
    whole = split["h.1.att.value.w"] @ split["h.1.att.proj.w"]
    assert torch.allclose(ov(a)[1].sum(0), whole, atol=1e-3)


def test_gpt2_with_a_layer_missing_a_part_is_refused(tmp_path):
    tensors = gpt2_like("split")
    del tensors["h.1.att.key.w"]
    torch.save(tensors, tmp_path / "gpt2.pth")
    with pytest.raises(ValueError, match=r"h\.1\.att\.key\.w"):
        read_attention(tmp_path / "gpt2.pth")


def test_a_foreign_file_with_our_digest_but_no_model_is_refused(tmp_path):
    write_tensors(tmp_path / "cache.safetensors", {"images": torch.zeros(3)}, {"name": "x"})
    with pytest.raises(ValueError, match="neither a model nor a checkpoint"):
        load_pretrained(tmp_path / "cache.safetensors")


def test_deit_tiny_loads_strictly_and_equals_timm(real_data, monkeypatch):
    import timm
    from safetensors.torch import load_file

    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    ours = load_pretrained("deit_tiny_patch16_224")
    theirs = timm.create_model("deit_tiny_patch16_224", pretrained=False).eval()
    theirs.load_state_dict(load_file(real_data / "deit_tiny_patch16_224.safetensors"))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-4)
    assert ours.preprocessing.crop == 224


def test_deit_tinys_diagonals_are_as_first_measured(real_data, monkeypatch):
    """The project's prototype, another program, gave these numbers for the same file."""
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    weights = read_attention("deit_tiny_patch16_224")
    heads = diagonal_stats(qk(weights), rank=64)
    assert int(((heads.mean / heads.chance).abs() > 5).sum()) == 33
    assert abs(heads.cosine.flatten().median() - 0.11) < 0.01
    layers = diagonal_stats(ov(weights).sum(1))
    assert (layers.mean < 0).all() and abs(layers.mean[0] + 0.634) < 0.001


def test_gpt2_is_read_from_the_real_file(real_data, monkeypatch):
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    weights = AttentionWeights.load("gpt2")
    assert weights.W_Q.shape == (12, 12, 768, 64) and weights.norm_gain.shape == (12, 768)
    assert torch.isfinite(weights.W_O).all()
