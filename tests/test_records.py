import json
import math
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp, ttest_rel

import minivit.records as records_module
from minivit.recipes import LAPTOP
from minivit.records import (
    Record,
    current_commit,
    describe_machine,
    epochs_to,
    load_records,
    paired_difference,
    select,
    summarise,
    versions,
    write_record,
)

EPOCHS = [
    {"epoch": i + 1, "train_loss": 2.0 / (i + 1), "validation_accuracy": accuracy, "seconds": 1.5}
    for i, accuracy in enumerate((0.3, 0.5, 0.45, 0.6))
]
RECORD = Record(
    scale="laptop",
    base="torch_default",
    attention="mimetic",
    variant="",
    seed=0,
    role="final",
    learning_rate=1e-3,
    recipe=asdict(LAPTOP),
    data={"name": "synthetic stand-in", "digest": "ab", "subset_digest": "cd"},
    versions=versions(),
    device="a machine",
    commit=None,
    dirty=False,
    epochs=EPOCHS,
    final_accuracy=0.55,
)


def seeds(accuracies, **changes):
    return [replace(RECORD, seed=i, final_accuracy=a, **changes) for i, a in enumerate(accuracies)]


def test_what_is_written_is_what_is_read(tmp_path):
    other = replace(RECORD, attention="plain", commit="abc", final_accuracy=None, variant="a=b")
    paths = [write_record(record, tmp_path) for record in (RECORD, other)]
    (tmp_path / "notes.txt").write_text("not a record")
    found = load_records(tmp_path)
    assert [path.name for path in paths] == [RECORD.filename, other.filename]
    tuples = replace(RECORD, recipe=json.loads(json.dumps(RECORD.recipe)))  # betas become a list
    assert found[0] == tuples and len(found) == 2
    assert (found[1].variant, found[1].commit, found[1].final_accuracy) == ("a=b", "abc", None)
    assert [r.filename for r in found] == sorted(path.name for path in paths)


def test_every_run_has_a_file_of_its_own():
    changes = [
        {"scale": "full"},
        {"base": "vit_trunc_normal"},
        {"attention": "plain"},
        {"variant": "positions=shuffled"},
        {"seed": 1},
        {"role": "tuning"},
        {"learning_rate": 3e-3},
        {"recipe": {}},
        {"data": {}},
    ]
    names = {replace(RECORD, **change).filename for change in changes} | {RECORD.filename}
    assert len(names) == len(changes) + 1
    same_run = replace(RECORD, final_accuracy=0.1, device="another", commit="abc")
    assert same_run.filename == RECORD.filename
    turned = replace(RECORD, recipe=dict(reversed(RECORD.recipe.items())))
    assert turned.filename == RECORD.filename, "a dictionary's order says nothing"


def test_shipped_records_load():
    folder = resources.files("minivit") / "records"
    shipped = list(folder.iterdir()) if folder.is_dir() else []
    assert len(load_records()) == sum(file.name.endswith(".json") for file in shipped)
    # A folder and a module of one name: the module must win.
    assert Path(records_module.__file__).name == "records.py"


@pytest.mark.integration
def test_the_folder_beside_the_module_is_what_ships(tmp_path):
    """A copy of the package with one record in minivit/records/ finds it."""
    package = Path(records_module.__file__).parent
    shutil.copytree(package, tmp_path / "minivit", ignore=shutil.ignore_patterns("*.json"))
    write_record(RECORD, tmp_path / "minivit" / "records")
    code = "from minivit.records import load_records; print([r.seed for r in load_records()])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[0]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", "a/b"),
        ("base", "torch"),
        ("attention", "identity"),
        ("variant", "../x"),
        ("role", "best"),
        ("seed", "0"),
        ("learning_rate", 0.0),
        ("seed", True),
        ("learning_rate", 1e999),
        ("epochs", []),
        ("epochs", [{"epoch": 1}]),
        ("epochs", [1]),
        ("epochs", [{**EPOCHS[0], "train_loss": "low"}]),
        ("epochs", [{**EPOCHS[0], "validation_accuracy": 55.0}]),
        ("epochs", [{**EPOCHS[0], "validation_accuracy": True}]),
        ("epochs", [{**EPOCHS[0], "validation_accuracy": -0.1}]),
        ("epochs", [{**EPOCHS[0], "epoch": 2}]),
        ("epochs", [EPOCHS[0], EPOCHS[0]]),
        ("final_accuracy", 55.0),
        ("dirty", None),
        ("recipe", "laptop"),
    ],
)
def test_a_file_with_a_bad_field_is_named_with_the_field(tmp_path, name, value):
    path = write_record(RECORD, tmp_path)
    text = json.dumps({**json.loads(path.read_text()), name: value}).replace("Infinity", "1e999")
    path.write_text(text)
    with pytest.raises(ValueError, match=name) as caught:
        load_records(tmp_path)
    assert path.name in str(caught.value)


def test_a_damaged_file_is_named(tmp_path):
    path = write_record(RECORD, tmp_path)
    whole = path.read_text()
    fields = json.loads(whole)
    fewer = {name: value for name, value in fields.items() if name != "seed"}
    for text, words in [
        (whole[: len(whole) // 2], "not a record"),
        ("", "not a record"),
        ("3", "not a record"),
        ("[]", "not a record"),
        (json.dumps({**fields, "colour": 1}), "missing or unknown: colour"),
        (json.dumps(fewer), "missing or unknown: seed"),
        (json.dumps({**fields, "learning_rate": math.nan}), "NaN is no JSON"),
        (json.dumps({**fields, "final_accuracy": -math.inf}), "-Infinity is no JSON"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=words) as caught:
            load_records(tmp_path)
        assert path.name in str(caught.value)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a record"):
        load_records(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        load_records(tmp_path / "nowhere")


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="epochs is"):
        replace(RECORD, epochs=[{**EPOCHS[0], "train_loss": math.nan}])
    with pytest.raises(ValueError):
        write_record(replace(RECORD, recipe={"margin": math.nan}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_select_takes_what_has_every_value():
    records = seeds([0.1, 0.2, 0.3]) + seeds([0.4], attention="plain", variant="x=y")
    assert select(records) == records
    assert [r.final_accuracy for r in select(records, attention="mimetic", seed=0)] == [0.1]
    assert [r.final_accuracy for r in select(records, seed=0)] == [0.1, 0.4]
    assert [r.final_accuracy for r in select(records, variant="")] == [0.1, 0.2, 0.3]
    assert select(records, role="tuning") == [] == select(records, scale="full")
    assert len(select(records, base="torch_default", scale="laptop", role="final")) == 4


def test_summary_is_scipys_t_interval():
    values = [0.52, 0.55, 0.5, 0.61, 0.57]
    interval = ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = summarise(values)
    np.testing.assert_allclose(found[:2], (np.mean(values), np.std(values, ddof=1)))
    np.testing.assert_allclose((found.low, found.high), (interval.low, interval.high))
    assert found.n == 5
    single = summarise([0.5])
    assert (single.mean, single.n) == (0.5, 1)
    assert all(map(math.isnan, (single.std, single.low, single.high)))
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_paired_difference_is_scipys_and_pairs_by_seed():
    a, b = [0.55, 0.52, 0.58, 0.6], [0.5, 0.51, 0.52, 0.56]
    first, second = seeds(a), seeds(b, attention="plain")
    expected = ttest_rel(a, b).confidence_interval(0.95)
    found = paired_difference(first, second[::-1])
    assert math.isclose(found.mean, np.mean(a) - np.mean(b)) and found.n == 4
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high))
    last = paired_difference(first, second, value=lambda r: r.epochs[-1]["seconds"] + r.seed)
    assert last.mean == last.std == last.low == last.high == 0.0


def test_pairs_that_are_none_are_refused():
    a, b = seeds([0.5, 0.6, 0.7]), seeds([0.4, 0.5, 0.6], attention="plain")
    for first, second, words in [
        (a, b[:2], r"\[0, 1, 2\] and \[0, 1\]"),
        (a[:1], b[:1], "two or more"),
        ([], [], "two or more"),
        (a + a[:1], b, "twice"),
        (a, seeds([0.4, 0.5, 0.6], scale="full"), "scale or data"),
        (a, seeds([0.4, 0.5, 0.6], data={}), "scale or data"),
        (a, seeds([0.4, 0.5, 0.6], data=RECORD.data | {"train": "ef"}), "scale or data"),
        (a, seeds([0.4, 0.5, None]), "seed 2: a run without this value"),
    ]:
        with pytest.raises(ValueError, match=words):
            paired_difference(first, second)
    packed = seeds([0.4, 0.5, 0.6], data=RECORD.data | {"digest": "of another archive"})
    assert paired_difference(a, packed).n == 3


def test_epochs_to_a_threshold_is_the_first_that_reaches_it():
    assert epochs_to(RECORD, 0.3) == 1 and epochs_to(RECORD, 0.5) == 2
    assert epochs_to(RECORD, 0.46) == 2 and epochs_to(RECORD, 0.55) == 4
    assert epochs_to(RECORD, 0.61) is None
    unvalidated = [{**epoch, "validation_accuracy": None} for epoch in EPOCHS]
    assert epochs_to(replace(RECORD, epochs=unvalidated), 0.3) is None


def git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_of_the_package_and_of_nothing_around_it(tmp_path, monkeypatch):
    package = tmp_path / "minivit"
    (package / "records").mkdir(parents=True)
    for file in ("__init__.py", "records.py", "records/a.json"):
        (package / file).write_text("1")
    (tmp_path / "prose.md").write_text("1")
    monkeypatch.setattr(records_module, "__file__", str(package / "records.py"))
    assert current_commit() == (None, False)  # no repository at all
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "prose.md")
    git(tmp_path, "commit", "-qm", "a user's own repository, the package installed inside")
    assert current_commit() == (None, False)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "the package")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert current_commit() == (head, False)
    (tmp_path / "prose.md").write_text("2")
    (package / "records" / "a.json").write_text("2")
    (package / "records" / "b.json").write_text("2")
    (package / "scratch.txt").write_text("2")
    assert current_commit() == (head, False)  # the code is that of the commit
    (package / "records.py").write_text("2")
    assert current_commit() == (head, True)
    monkeypatch.setenv("PATH", "")
    assert current_commit() == (None, False)  # no git


def test_versions_and_machine_are_plain_words():
    found = versions()
    assert found["torch"] == torch.__version__ and {"minivit", "python"} <= found.keys()
    assert json.loads(json.dumps(found)) == found
    assert f"threads: {torch.get_num_threads()}" in describe_machine(torch.device("cpu"))
