"""Any bytes in place of a file give data or a ValueError: no crash, no hang, no code run."""

import json
import os
import pickle
import time
from dataclasses import asdict, replace
from unittest.mock import patch

import pytest

from benchmarks import fuzz
from benchmarks.fuzz import READERS, NotRefusedError, Reader, check
from benchmarks.nearly_whole import damaged, odd_json
from benchmarks.tiny import MODEL, train_tiny
from minivit.model import ViT
from minivit.pretrained import load_pretrained
from minivit.records import load_records
from minivit.saving import load_model
from minivit.storage import read_tensors, write_tensors

pytestmark = pytest.mark.integration

ids = [reader.name for reader in READERS]


@pytest.mark.parametrize("reader", READERS, ids=ids)
def test_any_bytes_give_data_or_a_value_error(reader):
    found = check(reader, 60)
    assert found["data"] and found["ValueError"], "only one outcome: the files are not near enough"


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=ids)
def test_many_bytes_give_data_or_a_value_error(reader):
    assert check(reader, 2000, start=1).total() >= 2000


# What the check itself must see.


def a_reader(read, strategy=odd_json):
    return Reader("a reader", ".json", lambda: b'{"a": 1, "b": [2]}', read, strategy)


def test_another_error_is_found():
    def strict(path):
        return json.loads(path.read_bytes())["a"]

    with pytest.raises(NotRefusedError, match=r"(Key|Type|Recursion)Error"):
        check(a_reader(strict), 200)


def test_a_reader_that_hangs_is_found():
    def sleeps(path):
        if path.stat().st_size != 18:
            time.sleep(5)

    with patch.object(fuzz, "LONGEST", 0.2), pytest.raises(NotRefusedError, match="TimeoutError"):
        check(a_reader(sleeps, damaged), 20)


def test_code_in_a_file_is_found():
    def trusts(path):
        try:
            return pickle.loads(path.read_bytes())
        except Exception as error:
            raise ValueError("no pickle") from error

    class Payload:
        def __reduce__(self):
            return os.getcwd, ()

    reader = replace(a_reader(trusts, damaged), whole=lambda: pickle.dumps(Payload()))
    with pytest.raises(NotRefusedError, match=r"pickle\.find_class"):
        check(reader, 50)


# What it has found, each as a case of its own.


@pytest.mark.parametrize(
    "odd",
    [
        {"dim": 10**9},
        {"depth": 10**9},
        {"image_size": 10**6},
        {"classes": 10**30},
        {"mlp_ratio": 1e308},
    ],
    ids=str,
)
@pytest.mark.parametrize("read", [load_model, load_pretrained], ids=["load_model", "pretrained"])
def test_a_size_that_the_weights_do_not_have_takes_no_memory(tmp_path, odd, read):
    config = replace(MODEL, positions="sincos")  # a table that is not in the file
    sizes, file = asdict(config) | odd, tmp_path / "model.safetensors"
    write_tensors(file, ViT(config).state_dict(), {"config": sizes})
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        read(file)


def test_brackets_beyond_the_recursion_limit_are_no_record(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.json: not a record"):
        load_records(tmp_path)


@pytest.mark.parametrize(
    "odd", [{"start": 1}, {"epochs": [[]]}, {"epochs": 3}, {"run": 0}], ids=str
)
def test_a_checkpoint_with_odd_contents_is_named(tmp_path, odd):
    file = tmp_path / "run.safetensors"
    train_tiny(file)
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors, metadata | odd)
    with pytest.raises(ValueError, match=r"run\.safetensors: not a checkpoint of train\(\)"):
        train_tiny(file)
