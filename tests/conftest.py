"""Fixtures that several test files share."""

import os
import sys
from pathlib import Path

import pytest

# nbformat -> jsonschema -> this optional check of web addresses, which no notebook needs: it builds
# its grammars when it is imported, for two seconds in each process.
sys.modules.setdefault("rfc3987_syntax", None)

# Read here: a test that clears the environment before it asks for `real_data` was skipped.
GIVEN = os.environ.get("MINIVIT_DATA")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("MINIVIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def no_gpu(request, monkeypatch):
    """Only tests marked gpu see one: what others train comes out the same on every machine."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def real_data():
    """The folder of real files: $MINIVIT_DATA, or ../shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(GIVEN or beside)
    if not folder.is_dir():
        pytest.skip(f"no real files: MINIVIT_DATA is not set to a folder and {beside} is missing")
    return folder
