"""The command line: tables, records and a page come out; what is wrong is a sentence."""

import subprocess
import sys

import pytest

from minivit.__main__ import main


@pytest.mark.integration
def test_compare_prints_a_table_and_writes_records_and_a_page(tmp_path, capsys):
    words = [
        "compare",
        "--scale",
        "smoke",
        "--source",
        "synthetic",
        "--out",
        str(tmp_path / "runs"),
    ]
    words += ["--arms", "plain", "mimetic", "--processes", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "synthetic stand-in" in out and "mimetic" in out and "minus plain" in out
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2
    assert "synthetic stand-in" in (tmp_path / "runs" / "compare.html").read_text()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["compare", "--scale", "smok"], "did you mean 'smoke'"),
        (["compare", "--scale", "smoke", "--source", "synthetic", "--arms", "mimetc"], "'mimetc'"),
        (["compare", "--scale", "smoke", "--data", "/nowhere"], "/nowhere"),
        (["compare", "--scale", "smoke", "--source", "disk"], "source is 'disk'"),
        (["inspect", "/nowhere.safetensors"], "/nowhere.safetensors"),
    ],
)
def test_a_wrong_word_is_a_sentence(words, sentence, capsys):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


@pytest.mark.integration
def test_an_arm_that_is_named_twice_is_run_once(tmp_path, capsys):
    words = [
        "compare",
        "--scale",
        "smoke",
        "--source",
        "synthetic",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main([*words, "--arms", "plain", "plain", "--seeds", "0", "0"]) == 0
    assert ": 1 runs of" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--processes", "0"], "processes is 0"),
        (["--variant", "heads=5"], "dim 32 is not divisible by heads 5"),
        (["--learning-rate", "0"], "learning_rate is 0"),
    ],
)
def test_what_can_t_be_run_is_said_before_images_are_read(monkeypatch, capsys, words, said):
    monkeypatch.setattr("minivit.data.cifar10", lambda *_: pytest.fail("images were read"))
    assert main(["compare", "--scale", "smoke", *words]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.integration
def test_the_laptop_scale_has_enough_generated_images(tmp_path):
    from minivit.compare import prepare
    from minivit.data import cifar10
    from minivit.recipes import SCALES

    data = cifar10(source="synthetic")
    for recipe in SCALES.values():
        assert len(prepare(recipe, data, tmp_path).train) >= 200


@pytest.mark.integration
def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "minivit", "--help"], capture_output=True, text=True, check=True
    )
    assert all(command in done.stdout for command in ("compare", "inspect", "doctor"))


@pytest.mark.integration
def test_a_variant_s_epochs_are_those_that_are_run(tmp_path, capsys):
    words = ["compare", "--scale", "smoke", "--source", "synthetic", "--arms", "plain"]
    words += ["--out", str(tmp_path / "runs"), "--variant", "epochs=1"]
    assert main(words) == 0
    out, bar = capsys.readouterr()
    assert "1 runs of 1 epochs" in out and "together" not in out and "1/1" in bar
