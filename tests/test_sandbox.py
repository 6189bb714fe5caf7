"""Parts of the sandbox, each by itself: none of them runs a learner's code."""

import mmap
import os
import time

import pytest

from teaching.sandbox.places import Places
from teaching.sandbox.processes import memory_of

SIZE = 50_000_000


@pytest.fixture
def folder(tmp_path):
    at = tmp_path / "writable"
    at.mkdir(mode=0o777)
    return at


def test_a_folder_is_emptied(folder):
    places = Places(folders=[str(folder), str(folder / "none")])
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "note").write_text("x")
    (folder / "link").symlink_to(folder)
    assert places.empty() and not list(folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda at: at.chmod(0o555),
        lambda at: at.chmod(0o1777),
        lambda at: os.setxattr(at, "user.note", b"x"),
        lambda at: os.chown(at, 0, 4321),
    ],
    ids=["mode", "sticky", "attribute", "group"],
)
def test_a_folder_that_was_changed_is_not_clean(folder, change):
    places = Places(folders=[str(folder)])
    assert places.empty()
    try:
        change(folder)
    except OSError as error:
        pytest.skip(f"not possible here: {error}")
    assert not places.empty()


def test_times_of_a_folder_say_nothing(folder):
    places = Places(folders=[str(folder)])
    os.utime(folder, ns=(4 * 10**18, 5))  # far in the future, and long ago
    assert places.empty()
    for path in (folder, "/dev/null"):  # everybody can write into the second: no matter whose
        now = os.stat(path)
        assert abs(now.st_mtime - time.time()) < 60
    assert abs(folder.stat().st_atime - time.time()) < 60


def test_memory_that_is_shared_is_counted():
    before = memory_of(os.getpid())
    with mmap.mmap(-1, SIZE) as held:
        for at in range(0, SIZE, mmap.PAGESIZE):
            held[at] = 1
        assert memory_of(os.getpid()) - before > 0.9 * SIZE
    assert memory_of(2**30) == 0  # there is none
