"""Files that are whole or absent, and tensors whose digest is checked when they are read.

Everything the package keeps (models, checkpoints, caches, records) goes through here: written to a
temporary name beside the target, flushed, then renamed. A full disk or a kill leaves the old file.
"""

import glob
import hashlib
import json
import os
import secrets
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

DIGEST_KEY = "minivit_digest"
ON_WINDOWS = os.name == "nt"
ABANDONED = 3600  # seconds: nothing of ours takes that long to write


@contextmanager
def atomic_path(path):
    """Yields a temporary path in the folder of `path`; renames it to `path` if the block succeeds.

    On any error the temporary file is removed and whatever stood at `path` is untouched. What a
    killed process left there of an earlier attempt goes too, an hour later. Raises OSError where
    something stands at `path` that is no file.
    """
    path = Path(path).expanduser()
    if path.exists() and not path.is_file():  # a device or a pipe would be replaced
        raise OSError(f"{path} is a {'folder' if path.is_dir() else 'device'}, not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):  # another process may be sweeping
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        # safetensors' files are for their owner alone; a class shares its cache, which is read, and
        # replaced, never written into. The owner may write in any case: Windows marks folders
        # read-only, and means nothing by it.
        os.chmod(temporary, path.parent.stat().st_mode & 0o644 | 0o600)
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _replace(temporary, path):
    """os.replace, tried again where Windows' virus scanner has the file open for a moment."""
    for wait in (0.05, 0.2, 0.5, 1.0) if ON_WINDOWS else ():
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(wait)
    return os.replace(temporary, path)


def write_text(path, text):
    """Writes `text` as UTF-8 to `path`: whole, or not at all; OSError that names it if it can't."""
    with _or_unchanged(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(path, tensors, metadata=None):
    """Writes a safetensors file that carries its own digest.

    tensors: a dict of name → tensor, any device. metadata: a dict of name → anything JSON can hold.
    Raises OSError that names the file where the disk is full or the folder is closed, ValueError
    for tensors that share memory.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    notes = {name: json.dumps(value) for name, value in (metadata or {}).items()}
    notes[DIGEST_KEY] = tensor_digest(tensors, notes)
    with _or_unchanged(path), atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=notes)
        except RuntimeError as error:
            if "share memory" not in str(error):
                raise
            raise ValueError(
                f"{path}: some of these tensors are one in memory, as tied weights are, and a file "
                f"would part them; give each its own ({' '.join(str(error).split())[:300]})"
            ) from error


@contextmanager
def _or_unchanged(path):
    """Says which file could not be written, and that the one before it still stands."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path} can't be written ({error}); what stood there before is unchanged. "
            "Free some space, or choose another folder"
        ) from error


def read_tensors(path):
    """Returns (tensors, metadata) as `write_tensors` got them, on the CPU.

    Raises ValueError where the file is missing, cut short, not safetensors, written by something
    else (no digest), or changed since. Nothing in the file is ever executed.
    """
    tensors, notes = read_safetensors(path)
    stated = notes.pop(DIGEST_KEY, None)
    if stated is None:
        raise ValueError(f"{path}: no digest inside, so minivit did not write this file")
    if stated != tensor_digest(tensors, notes):
        raise ValueError(
            f"{path}: the digest does not match; the file has changed since it was written"
        )
    try:
        return tensors, {name: json.loads(value) for name, value in notes.items()}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its notes are not minivit's ({error})") from error


def read_safetensors(path):
    """Returns (tensors, raw metadata) of any safetensors file; ValueError where it is not one."""
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: a view of the mapped file would keep Windows from replacing it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error


def tensor_digest(tensors, notes=None):
    """SHA-256 (hex) over names, dtypes, shapes and bytes, in sorted order, and over `notes`."""
    digest = hashlib.sha256(json.dumps(notes or {}, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def file_digest(path):
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
