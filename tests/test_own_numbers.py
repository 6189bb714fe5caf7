"""Each learner's own numbers: theirs alone, the same again, and true of the lesson's function."""

import csv
import io

import pytest
import torch

from teaching import variants

ROSTER = "id,name\n" + "".join(f"learner{n},Name {n}\n" for n in range(60))


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """A function: the secret of a term → the rows that are printed, as dicts."""
    monkeypatch.setattr(variants, "TERM_FILE", tmp_path / ".term")
    (tmp_path / "class.csv").write_text(ROSTER)

    def printed(secret):
        (tmp_path / ".term").write_text(secret)
        assert variants.main([str(tmp_path / "class.csv")]) == 0
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    return printed


def numbers(row):
    return int(row["heads"]), float(row["alpha"]), float(row["beta"]), int(row["seed"])


def test_everybody_has_numbers_of_their_own_and_the_same_again(table):
    rows = table("a" * 32)
    assert [row["id"] for row in rows] == [f"learner{n}" for n in range(60)]
    assert len({numbers(row) for row in rows}) == 60
    assert len({row["heads"] for row in rows}) == len(variants.HEADS)
    assert table("a" * 32) == rows and table("b" * 32) != rows


def test_the_last_column_is_what_the_lessons_function_gives(table):
    """Computed once more: the first 192 / heads terms of the SVD of alpha Z + beta I."""
    for row in table("a" * 32)[:5]:
        heads, alpha, beta, seed = numbers(row)
        g = torch.Generator().manual_seed(seed)
        target = alpha * torch.randn(192, 192, generator=g) / 192**0.5 + beta * torch.eye(192)
        left, size, right = torch.linalg.svd(target)
        k = 192 // heads
        kept = (left[:, :k] * size[:k]) @ right[:k]
        assert abs(kept.diagonal().mean().item() - float(row["mean_diagonal"])) < 6e-4


def test_without_a_secret_or_a_roster_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(variants, "TERM_FILE", tmp_path / ".term")
    (tmp_path / "class.csv").write_text(ROSTER)
    assert variants.main([str(tmp_path / "class.csv")]) == 1
    assert "`make term`" in capsys.readouterr().err
    assert variants.main([str(tmp_path / "none.csv")]) == 1
    assert "can't be read" in capsys.readouterr().err
