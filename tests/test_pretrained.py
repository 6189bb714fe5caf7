"""Pretrained files: the same logits as where they come from, and nothing wrong gets in."""

import contextlib
import functools
import hashlib
import http.server
import math
import pickle
import sys
import threading
import warnings
from dataclasses import asdict, replace
from urllib.error import URLError

import pytest
import torch
from models import tiny_vit
from safetensors.torch import load_file, save_file

from minivit.__main__ import main
from minivit.archives import cache_dir
from minivit.catalog import CATALOG
from minivit.circuits import AttentionWeights, diagonal_stats, ov, qk
from minivit.layouts import GPT2_HEADS, VIT_HEADS, convert
from minivit.model import VIT_BASE, VIT_SMALL, VIT_TINY, ViT, ViTConfig
from minivit.pretrained import (
    load_or_untrained,
    load_pretrained,
    open_checkpoint,
    read_attention,
)
from minivit.saving import save_model
from minivit.storage import read_tensors, write_tensors

SIZES = [(48, 3, 2, 16, 8), (64, 4, 3, 32, 4), (32, 1, 1, 24, 8)]  # dim, heads, depth, image, patch
LEGACY = {"mlp.0.": "mlp.linear_1.", "mlp.3.": "mlp.linear_2."}


def shaken(model):
    """The model with no parameter at a special value, so that a name put wrong shows."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=g))
    return model.eval()


def images_of(size, n=2):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def as_before_0_13(state):
    for new, old in LEGACY.items():
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    return state


def saved(tensors, path):
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)
    return path


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["timm", "torchvision", "torchvision before 0.13"])
@pytest.mark.parametrize("sizes", SIZES)
def test_logits_equal_those_of_the_library_that_wrote_the_file(kind, sizes, file, tmp_path):
    dim, heads, depth, image_size, patch_size = sizes
    shape = {"dim": dim, "heads": heads, "depth": depth}
    theirs = tiny_vit(kind.split()[0], image_size=image_size, patch_size=patch_size, **shape)
    state = shaken(theirs).state_dict()
    state = as_before_0_13(state) if "before" in kind else state
    ours = load_pretrained(saved(state, tmp_path / file), heads=heads)
    images = images_of(image_size)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-4)
    assert not ours.training and ours.preprocessing is None


@pytest.mark.parametrize("spelling", [dict, as_before_0_13])
def test_the_table_of_names_is_one_to_one_onto_the_model(spelling):
    theirs = spelling(tiny_vit("torchvision", depth=12).state_dict())  # two-digit layers too
    renamed = convert(theirs, "torchvision")
    assert len(renamed) == len(theirs)
    assert renamed.keys() == tiny_vit("minivit", depth=12).state_dict().keys()
    assert {id(t) for t in renamed.values()} == {id(t) for t in theirs.values()}


def test_keys_that_a_plain_vit_does_not_have():
    state = tiny_vit("torchvision").state_dict()
    with pytest.raises(ValueError, match=r"'heads\.pre_logits\.weight'"):
        convert({**state, "heads.pre_logits.weight": torch.zeros(1)}, "torchvision")
    with pytest.raises(ValueError, match="two keys stand for one parameter"):
        convert({**state, **as_before_0_13(state)}, "torchvision")
    with pytest.raises(ValueError, match="layout is 'jax'"):
        convert(state, "jax")


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_a_wrapped_state_dict_is_unwrapped(wrapper, tmp_path):
    torch.save({wrapper: tiny_vit("timm").state_dict(), "epoch": 3}, tmp_path / "weights.pth")
    assert load_pretrained(tmp_path / "weights.pth", heads=3).config.dim == 48


class Wrapper(torch.nn.Module):
    """Names what it holds as DataParallel and torch.compile do."""

    def __init__(self, name, model):
        super().__init__()
        self.add_module(name, model)


WRAPPED = [["module"], ["_orig_mod"], ["module", "_orig_mod"], ["_orig_mod", "module", "module"]]


@pytest.mark.integration
def test_the_wrappers_are_named_as_torch_names_them():
    model = tiny_vit("timm")
    parallel, compiled = torch.nn.DataParallel(model), torch.compile(model)
    for torchs, name in ((parallel, "module"), (compiled, "_orig_mod")):
        assert torchs.state_dict().keys() == Wrapper(name, model).state_dict().keys()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("names", WRAPPED, ids=".".join)
def test_what_wraps_a_model_is_taken_off_its_names(names, suffix, tmp_path, capsys):
    theirs = model = shaken(tiny_vit("timm"))
    for name in reversed(names):
        model = Wrapper(name, model)
    path = saved(model.state_dict(), tmp_path / f"weights{suffix}")
    with torch.no_grad():
        expected = theirs(images_of(16))
        assert torch.allclose(load_pretrained(path, heads=3)(images_of(16)), expected, atol=1e-4)
    assert torch.equal(qk(read_attention(path, heads=3)), qk(AttentionWeights.of(theirs)))
    assert main(["inspect", str(path), "--heads", "3"]) == 0
    prefix = ".".join(names) + ".transformer."
    gpt2 = saved(gpt2_like("fused", prefix=prefix), tmp_path / f"gpt2{suffix}")
    assert read_attention(gpt2, heads=4).W_Q.shape == (2, 4, 32, 8)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_a_prefix_that_only_some_names_have_is_none(wrapper, tmp_path):
    """One name more or less, and it is not known what the others mean."""
    state = tiny_vit("timm").state_dict()
    path = tmp_path / "weights.pth"
    saved({wrapper + n: t for n, t in state.items()} | {"n_averaged": torch.zeros(())}, path)
    with pytest.raises(ValueError, match=rf"no known layout.*'{wrapper}cls_token'"):
        load_pretrained(path, heads=3)
    saved({wrapper + n if n == "norm.bias" else n: t for n, t in state.items()}, path)
    with pytest.raises(ValueError, match=rf"Missing .*norm\.bias.*Unexpected .*{wrapper}norm.bias"):
        load_pretrained(path, heads=3)


def test_shapes_give_the_configuration(tmp_path):
    sizes = {"image_size": 12, "patch_size": 3, "channels": 2, "classes": 7, "mlp_ratio": 2.5}
    mean = ViTConfig(dim=24, depth=3, heads=2, **sizes)
    for config in (mean, replace(mean, pool="cls", qkv_bias=False)):
        path = saved(ViT(config).state_dict(), tmp_path / "weights.pth")
        assert load_pretrained(path, heads=2).config == config


def test_heads_are_taken_from_published_sizes_alone(tmp_path):
    path = tmp_path / "weights.pth"
    shape = {"dim": 192, "heads": 3}
    saved(tiny_vit("timm", depth=12, **shape).state_dict(), path)
    with pytest.warns(UserWarning, match=r"weights.pth: 3 heads are assumed"):
        assert load_pretrained(path).config.heads == 3
    with pytest.warns(UserWarning, match=r"weights.pth: 3 heads are assumed"):
        assert AttentionWeights.load(path).W_Q.shape[1] == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_pretrained(path, heads=3).config.heads == 3
    saved(tiny_vit("timm", depth=2, **shape).state_dict(), path)
    with pytest.raises(ValueError, match=r"can't be seen \(dim is 192\); give heads="):
        load_pretrained(path)
    with pytest.raises(ValueError, match="heads is 5, which does not divide dim 192"):
        load_pretrained(path, heads=5)


def test_published_heads_are_those_of_the_presets_and_all_64_wide():
    presets = (VIT_TINY, VIT_SMALL, VIT_BASE)
    assert {(c.dim, c.depth): c.heads for c in presets} == VIT_HEADS
    assert {dim / heads for dim, heads in GPT2_HEADS.items()} == {64}


def test_minivits_own_files_are_known(tmp_path):
    model = shaken(ViT(ViTConfig(dim=32, depth=2, heads=4, positions="sincos")))
    path = tmp_path / "own.safetensors"
    save_model(model, path)
    again = load_pretrained(path)
    assert torch.equal(again(images_of(32)), model(images_of(32))) and again.config == model.config
    assert torch.equal(qk(read_attention(path)), qk(AttentionWeights.of(model)))
    with pytest.raises(ValueError, match="heads is 2, but this model has 4"):
        load_pretrained(path, heads=2)


@pytest.mark.integration
def test_a_checkpoint_of_a_training_is_known(tmp_path):
    from minivit.data import cifar10
    from minivit.recipes import SMOKE
    from minivit.train import train

    model = ViT(SMOKE.model)
    few = cifar10(source="synthetic")[0].subset(50, seed=0)
    config = replace(SMOKE.training, epochs=1, warmup_epochs=0.0)
    path = tmp_path / "run.safetensors"
    train(model, few, None, config, checkpoint=path)
    assert torch.equal(load_pretrained(path)(images_of(32)), model(images_of(32)))
    tensors, metadata = read_tensors(path)
    metadata["run"]["model.novel"] = 1
    write_tensors(path, tensors, metadata)
    with pytest.raises(ValueError, match="novel"):
        load_pretrained(path)
    write_tensors(path, tensors, metadata | {"run": 0})
    with pytest.raises(ValueError, match="its configuration is not this minivit's"):
        load_pretrained(path)


def test_our_file_without_a_model_is_refused(tmp_path):
    write_tensors(tmp_path / "cache.safetensors", {"images": torch.zeros(3)}, {"name": "x"})
    with pytest.raises(ValueError, match=r"no known layout.*'images'"):
        load_pretrained(tmp_path / "cache.safetensors")


def test_loading_draws_nothing_from_the_global_stream(tmp_path):
    path = saved(tiny_vit("timm").state_dict(), tmp_path / "weights.pth")
    before = torch.random.get_rng_state()
    load_pretrained(path, heads=3)
    assert torch.equal(before, torch.random.get_rng_state())


WRONG = {
    "missing": ({"blocks.1.norm2.bias": None}, r"Missing .*blocks\.1\.norm2\.bias"),
    "needed": ({"blocks.0.mlp.fc1.weight": None}, r"blocks\.0\.mlp\.fc1\.weight is missing"),
    "extra": ({"dist_token": (1, 1, 48)}, "Unexpected .*dist_token"),
    "shape": ({"blocks.1.mlp.fc2.weight": (3, 3)}, r"blocks\.1\.mlp\.fc2\.weight.*\[3, 3\]"),
    "axes": ({"head.weight": ()}, r"head\.weight has shape \(\)"),
    "dim": ({"patch_embed.proj.weight": (0, 3, 8, 8)}, "dim is 0"),
    "grid": ({"pos_embed": (1, 7, 48)}, "pos_embed has 7 rows"),
    "no positions": ({"pos_embed": (1, 0, 48)}, "pos_embed has 0 rows"),
    "gap": ({"blocks.999999999.norm1.weight": (48,)}, r"\[0, 1, 999999999\]"),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_file_of_another_model_is_refused_by_name(change, tmp_path):
    tensors = tiny_vit("timm").state_dict()
    for name, shape in WRONG[change][0].items():
        tensors.pop(name, None)
        tensors |= {} if shape is None else {name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=rf"weights\.pth: .*{WRONG[change][1]}"):
        load_pretrained(saved(tensors, tmp_path / "weights.pth"), heads=3)


@pytest.mark.parametrize("content", [{}, {1: torch.zeros(2)}, [1, 2], {"a": 3}, torch.zeros(2)])
@pytest.mark.parametrize("reader", [load_pretrained, read_attention])
def test_what_is_no_state_dict_is_refused(content, reader, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth: (of no known layout|not a state_dict)"):
        reader(tmp_path / "weights.pth")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["bad.pth", "bad.ckpt", "bad.safetensors"])
@pytest.mark.parametrize("torch_writes", [True, False])
def test_code_in_a_pickle_is_never_run(torch_writes, name, tmp_path):
    bad, trace = tmp_path / name, tmp_path / "trace"
    content = {"blocks": Malicious(trace)}
    if torch_writes:
        torch.save(content, bad)
    else:
        bad.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match="code in a file is never executed"):
        load_pretrained(bad)
    assert not trace.exists()
    pickle.loads(pickle.dumps(content))  # the attack itself works
    assert trace.exists()


@pytest.mark.parametrize("name", ["weights.ckpt", "weights.pth.tar", "weights"])
@pytest.mark.parametrize("old", [False, True])
def test_the_kind_of_a_file_is_seen_in_its_content(old, name, tmp_path):
    theirs = tiny_vit("timm").state_dict()
    torch.save(theirs, tmp_path / name, _use_new_zipfile_serialization=not old)
    assert load_pretrained(tmp_path / name, heads=3).config.dim == 48
    save_file(theirs, tmp_path / name)
    assert load_pretrained(tmp_path / name, heads=3).config.dim == 48
    save_file(theirs, tmp_path / "weights.pth")
    assert load_pretrained(tmp_path / "weights.pth", heads=3).config.dim == 48


def test_heads_may_be_given_wherever_they_are_asked_for(tmp_path, capsys):
    path = saved(tiny_vit("timm").state_dict(), tmp_path / "weights.safetensors")
    assert AttentionWeights.load(path, heads=6).head_dim == 8
    assert main(["inspect", str(path)]) == 1
    assert "give heads=… or --heads" in capsys.readouterr().err
    assert main(["inspect", str(path), "--heads", "6"]) == 0
    assert "6 heads of width 8" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_a_sentence(suffix, tmp_path):
    path = saved(tiny_vit("timm").state_dict(), tmp_path / f"weights{suffix}")
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=rf"weights{suffix}: (not a whole|damaged)"):
            load_pretrained(path, heads=3)


def test_an_unknown_name_lists_the_catalogue():
    with pytest.raises(ValueError, match=r"deit_small: no such file, and no name of .*deit_tiny"):
        load_pretrained("deit_small")


# The catalogue.


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32"])
def test_the_catalogue_says_what_torchvision_says(name):
    import torchvision

    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    entry, theirs = CATALOG[name], weights.transforms()
    assert entry.url == weights.url and entry.url.endswith(f"{name}-{entry.digest}.pth")
    ours = entry.preprocessing
    assert ([ours.crop], [ours.resize]) == (theirs.crop_size, theirs.resize_size)
    assert (list(ours.mean), list(ours.std)) == (theirs.mean, theirs.std)
    assert ours.interpolation == theirs.interpolation.value
    with torch.device("meta"):
        assert sum(p.numel() for p in ViT(entry.config).parameters()) == weights.meta["num_params"]
    assert entry.config == replace(VIT_BASE, patch_size=entry.config.patch_size)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_tiny_patch16_224"])
def test_the_catalogue_says_what_timm_says(name):
    import timm

    theirs = timm.get_pretrained_cfg(CATALOG[name].hub.removeprefix("timm/"))
    ours = CATALOG[name].preprocessing
    assert theirs.hf_hub_id == CATALOG[name].hub and theirs.input_size == (3, ours.crop, ours.crop)
    assert (ours.mean, ours.std) == (theirs.mean, theirs.std)
    assert ours.interpolation == theirs.interpolation
    assert ours.resize == math.floor(ours.crop / theirs.crop_pct)


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def nowhere(monkeypatch):
    """Neither files nor a network: every fetch is an error."""

    def refuse(*_, **__):
        raise URLError("Network is unreachable")

    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setitem(
        sys.modules, "huggingface_hub", type("hub", (), {"hf_hub_download": refuse})
    )


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A torchvision file on a server of our own, and a catalogue entry that points to it."""
    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "server"
    folder.mkdir()
    model = shaken(tiny_vit("torchvision"))
    torch.save(model.state_dict(), folder / "vit.pth")
    digest = hashlib.sha256((folder / "vit.pth").read_bytes()).hexdigest()[:8]
    with served(folder) as address:
        config = ViTConfig(**asdict(tiny_vit("minivit").config))
        entry = replace(CATALOG["vit_b_16"], url=f"{address}/vit.pth", file="vit.pth")
        monkeypatch.setitem(CATALOG, "vit_b_16", replace(entry, digest=digest, config=config))
        yield model


def test_a_download_is_checked_kept_and_not_repeated(published, monkeypatch):
    ours = load_pretrained("vit_b_16")
    assert torch.allclose(ours(images_of(16)), published(images_of(16)), atol=1e-4)
    assert ours.preprocessing.interpolation == "bilinear"
    assert [path.name for path in cache_dir().iterdir()] == ["vit.pth"]
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_: pytest.fail("again"))
    load_pretrained("vit_b_16")
    again = load_pretrained(cache_dir() / "vit.pth")  # by path, known by its digest
    assert again.config.heads == 3 and again.preprocessing == ours.preprocessing


def test_a_damaged_file_in_the_cache_is_fetched_again(published):
    cache_dir().mkdir()
    (cache_dir() / "vit.pth").write_bytes(b"x")
    with pytest.warns(UserWarning, match="the cache is damaged"):
        load_pretrained("vit_b_16")
    load_pretrained("vit_b_16")


def test_a_download_with_another_digest_leaves_nothing(published, monkeypatch):
    entry = CATALOG["vit_b_16"]
    monkeypatch.setitem(CATALOG, "vit_b_16", replace(entry, digest="00000000"))
    with pytest.raises(ValueError, match=rf"SHA-256 is {entry.digest}.* is 00000000…") as caught:
        load_pretrained("vit_b_16")
    assert "can't be fetched" not in str(caught.value)  # the network is not what is wrong
    assert not list(cache_dir().iterdir())


def test_a_user_file_with_another_digest_is_never_replaced(tmp_path, monkeypatch, published):
    (tmp_path / "vit.pth").write_bytes(b"mine")
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"its SHA-256 is [0-9a-f]{64}, that of vit_b_16 is"):
        load_pretrained("vit_b_16")
    assert (tmp_path / "vit.pth").read_bytes() == b"mine"


@pytest.mark.parametrize("name", CATALOG)
def test_without_a_network_it_says_what_to_do(name, nowhere):
    entry = CATALOG[name]
    with pytest.raises(ValueError, match=r"Ways out: .*MINIVIT_DATA to that folder") as caught:
        read_attention(name)
    assert entry.file in str(caught.value) and (entry.url or entry.hub) in str(caught.value)
    assert not cache_dir().exists() or not list(cache_dir().iterdir())


def test_without_huggingface_hub_it_says_so(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install huggingface_hub"):
        load_pretrained("vit_tiny_patch16_224")


def test_what_the_hub_raises_comes_with_the_ways_out(nowhere, monkeypatch):
    """Of some versions of the hub even "not found" is a ValueError."""

    def refuse(*_):
        raise ValueError("cannot find the requested files in the local cache")

    monkeypatch.setattr(sys.modules["huggingface_hub"], "hf_hub_download", refuse)
    with pytest.raises(ValueError, match=r"in the local cache.*Ways out"):
        load_pretrained("vit_tiny_patch16_224")


def test_the_hub_is_asked_for_the_right_file(nowhere, monkeypatch, tmp_path):
    model = ViT(CATALOG["vit_tiny_patch16_224"].config)
    path = saved(model.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def give(*words):
        asked.append(words)
        return str(path)

    monkeypatch.setattr(sys.modules["huggingface_hub"], "hf_hub_download", give)
    loaded = load_pretrained("vit_tiny_patch16_224")
    assert asked == [("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors")]
    assert torch.equal(loaded.head.weight, model.head.weight)
    assert loaded.preprocessing.mean == (0.5, 0.5, 0.5)
    assert open_checkpoint("vit_tiny_patch16_224").source.startswith("huggingface.co/timm/")


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_b_16"])
@pytest.mark.parametrize("height, width", [(32, 32), (303, 261), (224, 501)])
def test_preprocessing_is_torchvisions(name, height, width):
    from torchvision.transforms import InterpolationMode, v2

    ours = CATALOG[name].preprocessing
    modes = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
    steps = [v2.ToDtype(torch.float32, scale=True)]
    steps += [v2.Resize(ours.resize, interpolation=modes[ours.interpolation], antialias=True)]
    steps += [v2.CenterCrop(ours.crop), v2.Lambda(lambda x: x.clamp(0, 1))]
    theirs = v2.Compose([*steps, v2.Normalize(ours.mean, ours.std)])
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    found, expected = ours(images), theirs(images)
    assert found.shape == (2, 3, 224, 224)
    assert torch.allclose(found, expected, atol=1e-4)


def test_load_or_untrained_says_which(nowhere, monkeypatch, tmp_path):
    entry = replace(CATALOG["deit_tiny_patch16_224"], digest=None)
    entry = replace(entry, config=tiny_vit("minivit").config)
    monkeypatch.setitem(CATALOG, "deit_tiny_patch16_224", entry)
    before = torch.random.get_rng_state()
    stand_in, what = load_or_untrained("deit_tiny_patch16_224")
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(1)  # another state of the global stream, the same stand-in
    again, _ = load_or_untrained("deit_tiny_patch16_224")
    assert what.startswith("UNTRAINED") and "Network is unreachable" in what
    assert stand_in.preprocessing == entry.preprocessing and not stand_in.training
    assert torch.equal(stand_in.head.weight, again.head.weight)
    assert 0.015 < stand_in.blocks[1].attn.qkv.weight.std() < 0.025

    trained = shaken(tiny_vit("minivit"))
    saved(trained.state_dict(), tmp_path / entry.file)
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    model, what = load_or_untrained("deit_tiny_patch16_224")
    assert torch.equal(model.head.weight, trained.head.weight)
    assert "UNTRAINED" not in what and entry.source in what
    (tmp_path / entry.file).write_bytes(b"x")
    assert load_or_untrained("deit_tiny_patch16_224")[1].startswith("UNTRAINED")


@pytest.mark.parametrize("name", ["gpt2", "deit_small"])
def test_load_or_untrained_takes_names_of_vits_only(name):
    with pytest.raises(ValueError, match=rf"{name}.* one of .*'deit_tiny_patch16_224'"):
        load_or_untrained(name)


def test_where_the_source_is_synthetic_the_network_is_not_asked(monkeypatch):
    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    monkeypatch.setenv("MINIVIT_SOURCE", "synthetic")
    asked = type("hub", (), {"hf_hub_download": lambda *_: pytest.fail("asked the network")})
    monkeypatch.setitem(sys.modules, "huggingface_hub", asked)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_: pytest.fail("asked"))
    for name in CATALOG:
        with pytest.raises(ValueError, match="MINIVIT_SOURCE is synthetic"):
            read_attention(name)


# GPT-2.


def gpt2_like(layout, dim=32, layers=2, prefix=""):
    """The same random weights in either layout, all (in, out)."""
    tensors, g = {}, torch.Generator().manual_seed(0)
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
            tensors[f"{prefix}h.{n}.attn.bias"] = torch.ones(1, 1, 4, 4)  # the causal mask
    return tensors


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_both_layouts_of_gpt2_are_the_same_maps(prefix, suffix, tmp_path):
    split = gpt2_like("split")
    a = read_attention(saved(split, tmp_path / f"split{suffix}"), heads=4)
    b = read_attention(saved(gpt2_like("fused", prefix=prefix), tmp_path / f"f{suffix}"), heads=4)
    assert torch.equal(qk(a), qk(b)) and torch.equal(ov(a), ov(b))
    gains = torch.stack([split[f"h.{n}.att.norm.w"] for n in range(2)])
    assert torch.equal(a.norm_gain, gains) and torch.equal(b.norm_gain, gains)
    # By hand: (in, out) means x @ w, heads side by side.
    x = torch.randn(5, 32)
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        query, key, value = (
            x @ split[f"h.1.att.{name}.w"][:, part] for name in ("query", "key", "value")
        )
        assert torch.allclose(x @ qk(a)[1, head] @ x.T, query @ key.T, atol=1e-3)
        assert torch.allclose(x @ ov(a)[1, head], value @ split["h.1.att.proj.w"][part], atol=1e-3)


def test_heads_of_gpt2_are_known_at_its_sizes(tmp_path):
    path = saved(gpt2_like("fused", dim=768, layers=1), tmp_path / "gpt2.safetensors")
    assert read_attention(path).W_Q.shape == (1, 12, 768, 64)
    path = saved(gpt2_like("fused"), tmp_path / "gpt2.safetensors")
    with pytest.raises(ValueError, match=r"gpt2\.safetensors: .*give heads="):
        read_attention(path)


@pytest.mark.parametrize(
    "name, tensor, sentence",
    [
        ("h.1.att.key.w", None, r"h\.1\.att\.key\.w is missing"),
        ("h.1.att.norm.w", torch.zeros(7), r"h\.1\.att\.norm\.w has shape \(7,\) instead"),
        ("h.0.att.value.w", torch.zeros(32, 16), r"h\.0\.att\.value\.w has shape"),
        ("h.7.att.norm.w", torch.zeros(32), r"a layer is missing: of h there are \[0, 1, 7\]"),
    ],
)
def test_gpt2_with_a_part_wrong_is_refused(name, tensor, sentence, tmp_path):
    tensors = gpt2_like("split")
    tensors.pop(name, None)
    tensors |= {} if tensor is None else {name: tensor}
    with pytest.raises(ValueError, match=rf"gpt2\.pth: {sentence}"):
        read_attention(saved(tensors, tmp_path / "gpt2.pth"), heads=4)


def test_gpt2_is_no_vit(tmp_path):
    path = saved(gpt2_like("split"), tmp_path / "gpt2.pth")
    with pytest.raises(ValueError, match=r"GPT-2 is no ViT; AttentionWeights\.load reads"):
        load_pretrained(path)


# The real files.


def test_deit_tiny_loads_strictly_and_equals_timm(real_data, monkeypatch):
    import timm

    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    ours = load_pretrained("deit_tiny_patch16_224")
    theirs = timm.create_model("deit_tiny_patch16_224", pretrained=False).eval()
    path = real_data / "deit_tiny_patch16_224.safetensors"
    theirs.load_state_dict(load_file(path))
    with torch.no_grad():
        assert torch.allclose(ours(images_of(224, 1)), theirs(images_of(224, 1)), atol=1e-4)
    assert load_pretrained(path).preprocessing == ours.preprocessing  # known by its digest


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "gpt2"])
def test_a_flipped_byte_is_found(name, real_data, monkeypatch, tmp_path):
    content = bytearray((real_data / CATALOG[name].file).read_bytes())
    content[-1000] ^= 1
    (tmp_path / CATALOG[name].file).write_bytes(content)
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=CATALOG[name].digest):
        read_attention(name)


def test_deit_tinys_diagonals_are_as_first_measured(real_data, monkeypatch):
    """The project's prototype, another program, gave these numbers for the same file."""
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    weights = AttentionWeights.load("deit_tiny_patch16_224")
    heads = diagonal_stats(qk(weights), rank=64)
    assert int(((heads.mean / heads.chance).abs() > 5).sum()) == 33
    assert abs(heads.cosine.flatten().median() - 0.11) < 0.005
    assert abs(heads.mean.flatten().median() - 0.044) < 0.002
    layers = diagonal_stats(ov(weights).sum(1))
    assert (layers.mean < 0).all()
    for layer, mean in {0: -0.634, 4: -0.015, 11: -0.492}.items():
        assert abs(layers.mean[layer] - mean) < 0.001


@pytest.mark.integration
def test_gpt2s_signs_are_as_measured(real_data, monkeypatch):
    """No prototype measured these: they were read off once, and guard against a transposed file."""
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    weights = AttentionWeights.load("gpt2")
    assert weights.W_Q.shape == (12, 12, 768, 64) and weights.norm_gain.shape == (12, 768)
    heads, layers = diagonal_stats(qk(weights), rank=64), diagonal_stats(ov(weights).sum(1))
    assert int(((heads.mean / heads.chance).abs() > 5).sum()) == 133
    assert int((heads.mean > 0).sum()) == 71
    assert int((layers.mean < 0).sum()) == 4 and abs(layers.mean[0] - 0.403) < 0.001
