"""The table shows the measures that `circuits` computes, one row for each head."""

import os
import subprocess
import sys

import pytest
import torch
from models import tiny_vit
from safetensors.torch import save_file

from minivit.__main__ import main
from minivit.catalog import CATALOG
from minivit.circuits import AttentionWeights, diagonal_stats, ov, qk
from minivit.init import mimetic_
from minivit.inspection import inspection_table
from minivit.saving import save_model


@pytest.fixture
def table(tmp_path):
    model = mimetic_(tiny_vit("minivit"), generator=torch.Generator().manual_seed(0))
    save_model(model, tmp_path / "model.safetensors")
    return AttentionWeights.of(model), inspection_table(tmp_path / "model.safetensors")


def numbers(stats, place):
    z = stats.mean / stats.chance
    return [
        f"{stats.mean[place]:+.3f}",
        f"{stats.spread[place]:.3f}",
        f"{z[place]:+.1f}",
        f"{stats.cosine[place]:+.2f}",
    ]


def test_every_head_has_its_row_and_every_layer_its_ov(table):
    weights, text = table
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:2] for row in rows] == [[str(n), str(h)] for n in (0, 1) for h in (0, 1, 2)]
    heads, layers = diagonal_stats(qk(weights), rank=16), diagonal_stats(ov(weights).sum(1))
    for row in rows:
        layer, head = int(row[0]), int(row[1])
        assert row[2:7] == [*numbers(heads, (layer, head)), "|"]
        assert row[7:] == (numbers(layers, layer) if head == 0 else [])


def test_the_header_and_the_summary(table):
    text = table[1]
    assert "layout  minivit; 2 layers, dim 48, 3 heads of width 16" in text
    assert "at most 0.58" in text  # √(16 / 48)
    assert "mean > 0 in 6;" in text and "OV: mean < 0 in 2 of 2 layers" in text


def test_it_fits_a_terminal(table):
    assert max(len(line) for line in table[1].splitlines()[2:]) <= 100


@pytest.mark.integration
def test_into_a_file_whose_letters_are_few_it_goes_with_question_marks(tmp_path, table):
    """Redirected output on Windows has cp1252, without ᵀ and √."""
    command = [sys.executable, "-m", "minivit", "inspect", str(tmp_path / "model.safetensors")]
    few = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=few)
    assert (done.returncode, done.stderr) == (0, b"")
    whole, found = table[1].splitlines(), done.stdout.decode("cp1252").splitlines()
    assert [len(line) for line in found] == [len(line) for line in whole]
    assert "?" in done.stdout.decode("cp1252") and found[-1].split()[0] == whole[-1].split()[0]


def test_heads_that_are_assumed_are_said_to_be(tmp_path, capsys, table):
    """What a file, the catalogue or the reader says is no assumption."""
    assert "heads   assumed" not in table[1]  # save_model wrote it
    path = tmp_path / "tiny.safetensors"
    save_file(tiny_vit("timm", dim=192, depth=12).state_dict(), path)
    text = inspection_table(path)
    assert "3 heads of width 64\nheads   assumed, as in published models" in text
    assert max(len(line) for line in text.splitlines()[2:]) <= 100
    assert main(["inspect", str(path), "--heads", "6"]) == 0
    out = capsys.readouterr().out
    assert "6 heads of width 32\n\n" in out and "heads   assumed" not in out


@pytest.mark.integration
@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "gpt2"])
def test_heads_of_a_published_file_are_known(name, real_data, monkeypatch):
    monkeypatch.setenv("MINIVIT_DATA", str(real_data))
    for file in (name, real_data / CATALOG[name].file):
        assert "heads   assumed" not in inspection_table(file)
