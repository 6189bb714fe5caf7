"""The table shows the measures that `circuits` computes, one row for each head and layer."""

import torch
from models import tiny_vit

from minivit.circuits import AttentionWeights, diagonal_stats, ov
from minivit.init import mimetic_
from minivit.inspection import inspection_table
from minivit.model import save_model


def test_every_head_and_layer_has_its_row(tmp_path):
    model = mimetic_(tiny_vit("minivit"), generator=torch.Generator().manual_seed(0))
    save_model(model, tmp_path / "model.safetensors")
    text = inspection_table(tmp_path / "model.safetensors")
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:2] for row in rows[:6]] == [[str(n), str(h)] for n in (1, 2) for h in (1, 2, 3)]
    assert [row[:2] for row in rows[6:]] == [["1", "all"], ["2", "all"]]
    stats = diagonal_stats(ov(AttentionWeights.of(model)).sum(1))
    assert rows[7][2] == f"{stats.mean[1]:+.3f}" and rows[7][5] == f"{stats.cosine[1]:+.2f}"
    assert all(float(row[2]) > 0 for row in rows[:6]) and float(rows[6][4]) < -5
    assert max(map(len, text.splitlines()[1:])) <= 100
