"""Files are whole or as they were before, and whatever was changed is noticed."""

import errno
import os
import stat
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from minivit.storage import (
    DIGEST_KEY,
    atomic_path,
    file_digest,
    read_tensors,
    tensor_digest,
    write_tensors,
    write_text,
)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "tensors.safetensors"
    tensors = {
        "a": torch.arange(12.0).view(3, 4),
        "b": torch.tensor(3),
        "c": torch.ones(2).bfloat16(),
    }
    write_tensors(path, tensors, {"config": {"dim": 4}, "note": None})
    return path, tensors


def test_tensors_and_metadata_come_back(written):
    path, tensors = written
    found, metadata = read_tensors(path)
    assert metadata == {"config": {"dim": 4}, "note": None}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype


def test_any_changed_byte_is_noticed(written):
    """Weights, names and metadata alike."""
    path, _ = written
    whole = path.read_bytes()
    for place in range(8, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found, metadata = read_tensors(path)
        except ValueError:
            continue
        # Only bytes that carry nothing (the header's padding) may pass.
        path.write_bytes(whole)
        original, notes = read_tensors(path)
        assert metadata == notes and all(torch.equal(found[n], original[n]) for n in original)


def test_the_digest_sees_names_types_shapes_numbers_and_notes_but_no_order():
    a, b = torch.zeros(2, 3), torch.ones(4)
    contents = [{"a": a, "b": b}, {"b": a, "a": b}, {"a": a.T, "b": b}, {"a": a.int(), "b": b}]
    contents += [{"a": a + 1, "b": b}, {"a": a}, {"a": a, "c": b}]
    digests = {tensor_digest(each) for each in contents} | {tensor_digest(contents[0], {"n": "1"})}
    assert len(digests) == len(contents) + 1
    assert tensor_digest({"b": b, "a": a}) == tensor_digest({"a": a, "b": b})


@pytest.mark.parametrize("note", ["no JSON", "[" * 100_000])
def test_notes_of_somebody_else_under_a_right_digest_are_a_sentence(tmp_path, note):
    tensors, path = {"a": torch.zeros(2)}, tmp_path / "a.safetensors"
    digest = {DIGEST_KEY: tensor_digest(tensors, {"n": note})}
    save_file(tensors, path, {"n": note} | digest)
    with pytest.raises(ValueError, match=r"a\.safetensors: its notes are not minivit's"):
        read_tensors(path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_cut_short_is_a_sentence(written, keep):
    path, _ = written
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        read_tensors(path)


def test_a_folder_is_not_called_missing(tmp_path):
    with pytest.raises(ValueError, match="a folder, not a file"):
        read_tensors(tmp_path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="no digest inside"):
        read_tensors(tmp_path / "foreign.safetensors")


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"note\.txt can't be written .*No space left.* unchanged"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_tensors_on_a_full_disk_are_an_oserror_that_names_the_file(written, monkeypatch):
    """safetensors raises an error of its own, which the command line does not catch."""
    path, _ = written
    before = path.read_bytes()

    def full(*_, **__):
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match=r"tensors\.safetensors can't be written .*No space left"):
        write_tensors(path, {"a": torch.ones(2)})
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("refusals, outcome", [(2, "new"), (9, "old")])
def test_a_file_that_a_scanner_holds_is_replaced_a_moment_later(
    refusals, outcome, tmp_path, monkeypatch
):
    """On Windows; elsewhere a refusal is one, and is said at once."""
    path, replace, left = tmp_path / "note.txt", os.replace, [refusals]
    write_text(path, "old")

    def held(*names):
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError("Access is denied")
        replace(*names)

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr("minivit.storage.time.sleep", lambda _: None)
    with pytest.raises(OSError, match=r"note\.txt can't be written \(Access is denied"):
        write_text(path, "new")  # not on Windows
    assert left == [refusals - 1]
    left[0] = refusals
    monkeypatch.setattr("minivit.storage.ON_WINDOWS", True)
    with nullcontext() if outcome == "new" else pytest.raises(OSError, match="Access is denied"):
        write_text(path, "new")
    assert path.read_text() == outcome and len(list(tmp_path.iterdir())) == 1


def test_a_folder_marked_read_only_makes_no_file_read_only(tmp_path, monkeypatch):
    """Windows marks Documents and other folders so, and lets everybody write into them."""
    looked = Path.stat

    def marked(self, **options):
        found = looked(self, **options)
        return os.stat_result([found.st_mode & ~0o222, *found[1:]]) if self == tmp_path else found

    monkeypatch.setattr(Path, "stat", marked)
    write_text(tmp_path / "note.txt", "old")
    assert os.stat(tmp_path / "note.txt").st_mode & 0o200


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/note\.txt can't be written"):
        write_text(tmp_path / "file" / "note.txt", "new")


def test_what_is_no_file_is_not_replaced(tmp_path):
    """As root, a rename would put a file in the place of /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"pipe can't be written \(.*is a device, not a file"):
        write_text(tmp_path / "pipe", "new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(OSError, match="is a folder, not a file"):
        write_tensors(tmp_path, {"a": torch.ones(2)})
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


def test_whoever_reads_the_old_file_reads_it_to_its_end(tmp_path):
    """The new one takes its name; written over the old one, a reader would see half of each."""
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with open(path, encoding="utf-8") as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path):
    path = tmp_path / "note.txt"
    old, young, foreign = (tmp_path / f".{n}.part" for n in ("note.txt.1-a", "note.txt.2-b", "b.3"))
    for left in (old, young, foreign):
        left.touch()
    for left in (old, foreign):
        os.utime(left, (0, 0))
    half_an_hour_ago = time.time() - 1800  # a slow writer may still be at it
    os.utime(young, (half_an_hour_ago, half_an_hour_ago))
    write_text(path, "new")
    assert sorted(tmp_path.iterdir()) == sorted([path, young, foreign])


def test_others_may_read_what_lies_in_a_folder_that_they_may_read(written):
    path, _ = written
    path.parent.chmod(0o755)
    write_tensors(path, {"a": torch.ones(2)})
    assert path.stat().st_mode & 0o777 == 0o644


def test_nobody_else_may_write_into_a_file_even_where_all_may_make_files(written):
    path, _ = written
    path.parent.chmod(0o1777)  # as /tmp
    write_tensors(path, {"a": torch.ones(2)})
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_tilde_is_the_home_folder_for_writers_and_readers(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_tensors("~/a.safetensors", {"x": torch.ones(2)})
    write_text("~/a.txt", "words")
    assert {file.name for file in tmp_path.iterdir()} == {"a.safetensors", "a.txt"}
    assert torch.equal(read_tensors("~/a.safetensors")[0]["x"], torch.ones(2))


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="Linux tells what is mapped")
def test_what_was_read_does_not_hold_the_file(written):
    """Windows does not replace a file that is mapped: training would end at its next epoch."""
    path, tensors = written
    kept, _ = read_tensors(path)
    with open("/proc/self/maps") as maps:
        assert str(path) not in maps.read() and kept.keys() == tensors.keys()
