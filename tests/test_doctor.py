"""doctor: what stands in the way is named, with what to do, and nothing makes it raise."""

import builtins
import importlib.metadata
import io
import shutil
import sys
import tarfile

import pytest

from minivit import doctor
from minivit.archives import ORIGINAL_FILES, ORIGINAL_MD5, cache_dir
from minivit.catalog import CATALOG


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Nothing set by whoever runs the tests."""
    for name in ("MINIVIT_DATA", "MINIVIT_SCALE", "MINIVIT_SOURCE"):
        monkeypatch.delenv(name, raising=False)


def found(name, data=None):
    (finding,) = [each for each in doctor.examine(data) if each.name == name]
    return finding


def test_a_machine_without_anything_set_can_start():
    assert doctor.report() == 0
    assert "170 MB" in found("data").detail
    assert not cache_dir().exists(), "doctor must leave nothing behind"


def test_wrong_data_folder_blocks(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path / "nowhere"))
    assert doctor.report() == 1
    line = next(each for each in capsys.readouterr().out.splitlines() if "data:" in each)
    assert line.startswith("FIX") and "nowhere" in line and "→" in line


def test_data_folder_without_data_blocks(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    assert doctor.report() == 1
    # `cifar10(root)` downloads into a folder that is named in the call.
    assert found("data", tmp_path).ok


def test_an_archive_is_found_and_not_read(tmp_path):
    archive = tmp_path / "cifar10-any.tar.xz"
    with tarfile.open(archive, "w:xz") as file:
        file.add(__file__, "train/cat/0.png")
    assert found("data", tmp_path).ok and str(archive) in found("data", tmp_path).detail


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>"])
def test_what_is_no_archive_is_not_called_one(tmp_path, content):
    archive = tmp_path / "cifar10-any.tar.xz"
    archive.write_bytes(content)
    assert not found("data", tmp_path).ok and "no archive" in found("data", tmp_path).detail


def test_damaged_weights_are_named(monkeypatch, tmp_path):
    file = tmp_path / CATALOG["gpt2"].file
    file.write_bytes(b"cut")
    assert "none" in found("weights").detail and found("weights").ok
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    assert not found("weights").ok and str(file) in found("weights").detail


@pytest.mark.parametrize("name", [ORIGINAL_FILES[1], f"cifar-10-{ORIGINAL_MD5}.safetensors"])
def test_a_download_that_was_made_is_found(name):
    cache_dir().mkdir()
    (cache_dir() / name).touch()
    assert "kept in" in found("data").detail


def test_real_files_are_found(monkeypatch, real_data):
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    assert found("data").ok and "not read yet" in found("data").detail
    assert "deit_tiny" in found("weights").detail


def test_the_source_in_the_environment_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIT_SOURCE", "synthetic")
    assert "generated" in found("data").detail and "generated" not in found("data", tmp_path).detail
    monkeypatch.setenv("MINIVIT_SOURCE", "syntetic")
    assert doctor.report() == 1
    assert "MINIVIT_SOURCE is 'syntetic'" in found("data").detail


def test_another_source_than_auto_does_not_look_where_cifar10_would_not(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIVIT_SOURCE", "folder")
    assert not found("data").ok and "MINIVIT_DATA is not set" in found("data").detail
    monkeypatch.setenv("MINIVIT_DATA", str(tmp_path))
    (tmp_path / ORIGINAL_FILES[1]).touch()  # no folder of images
    assert not found("data").ok and str(tmp_path) in found("data").detail
    (tmp_path / "train").mkdir()
    (tmp_path / ORIGINAL_FILES[1]).unlink()
    assert "images; not read yet" in found("data").detail
    monkeypatch.setenv("MINIVIT_SOURCE", "torchvision")
    assert "170 MB" in found("data").detail and found("data").ok


def test_misspelt_scale_blocks_and_names_the_nearest(monkeypatch):
    monkeypatch.setenv("MINIVIT_SCALE", "lptop")
    assert doctor.report() == 1
    assert "'laptop'" in found("scale").detail


def test_torchvision_of_another_torch_is_explained_and_does_not_block(monkeypatch):
    original = builtins.__import__

    def mismatched(name, *rest):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", mismatched)
    finding = found("torchvision")
    assert not finding.ok and "nms" in finding.detail and "torch torchvision" in finding.advice
    assert doctor.report() == 0


def test_missing_package_is_named(monkeypatch):
    original = importlib.metadata.version

    def version(name):
        if name == "ipywidgets":
            raise importlib.metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(doctor, "version", version)
    assert found("figures").detail == "ipywidgets is not installed"
    # The name `minivit` on a package index is not ours: never advise to install it.
    assert "minivit" not in found("figures").advice


def test_cache_that_is_a_file_or_full(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIVIT_CACHE", str(tmp_path / "file" / "below"))
    assert "can't be written" in found("cache").detail
    monkeypatch.setenv("MINIVIT_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    assert "free 1 GB" in found("cache").advice


def test_unused_gpu_is_pointed_out(monkeypatch):
    monkeypatch.setattr(doctor, "pick_device", lambda: doctor.torch.device("cpu"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert "driver" in found("device").detail and not found("device").ok


def test_a_check_that_fails_hides_no_other(monkeypatch):
    monkeypatch.setattr(doctor, "pick_device", lambda: 1 / 0)
    findings = doctor.examine()
    assert "ZeroDivisionError" in found("device").detail and not found("device").ok
    assert findings[-1].name == "scale" and findings[-1].ok


def test_a_console_without_the_arrow(monkeypatch, tmp_path):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    assert doctor.report(tmp_path / "nowhere") == 1
    console.seek(0)
    assert "FIX  data" in console.read()


def test_a_home_that_is_the_root_folder_garbles_no_path(monkeypatch, tmp_path, capsys):
    for home, shown in ((str(tmp_path), "~/cache"), ("/", f"{tmp_path}/cache")):
        monkeypatch.setenv("HOME", home)
        monkeypatch.setenv("USERPROFILE", home)
        monkeypatch.setenv("MINIVIT_CACHE", str(tmp_path / "cache"))
        doctor.report()
        line = next(each for each in capsys.readouterr().out.splitlines() if "cache:" in each)
        assert f"cache: {shown}," in line


def test_a_gpu_that_can_not_compile_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "pick_device", lambda: doctor.torch.device("cuda"))
    monkeypatch.setattr(doctor.torch.cuda, "get_device_name", lambda _: "A GPU")
    monkeypatch.setattr(doctor.torch.cuda, "get_device_capability", lambda _: (8, 0))
    for can, words in ((True, ""), (False, "needs Triton and a C compiler")):
        monkeypatch.setattr(doctor, "can_compile", lambda _, can=can: can)
        assert found("device").ok and ("compile" in found("device").detail) == bool(words)
        assert words in found("device").detail
