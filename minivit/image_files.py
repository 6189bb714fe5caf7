"""The image files of a folder or an archive, as bytes, read without unpacking anything to disk."""

import io
import lzma
import tarfile
import zipfile
import zlib
from functools import partial
from pathlib import PureWindowsPath

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
# A small archive can state files that fill the memory, a "zip bomb".
LARGEST_FILE, LARGEST_SUM = 64 << 20, 1 << 30
# RuntimeError: a zip with a password or an unknown compression. KeyError: a tar's dangling link.
BROKEN = (OSError, EOFError, RuntimeError, KeyError, tarfile.TarError, zipfile.BadZipFile)
BROKEN = (*BROKEN, zlib.error, lzma.LZMAError)


def collect(path):
    """All image files as {(split, class, file name): bytes}.

    Raises ValueError for what can't be read to its end, for a path that climbs out of an archive,
    for a file of more than LARGEST_FILE bytes, and for more than LARGEST_SUM of all.
    """
    files, tops, total = {}, set(), 0
    try:
        for name, size, read in _entries(path):
            place = _place(path, name)
            if place and read:
                tops.add(place[:-3])
                files[place[-3:]] = data = _limited(read, size, f"{path}: {name}")
                total += len(data)
                if total > LARGEST_SUM:
                    limit = f"more than {LARGEST_SUM >> 20:,} MiB of images"
                    raise ValueError(f"{path}: {limit}; `minivit.folders` reads them from a folder")
    except BROKEN as error:
        archive = (
            "either it is no archive (tar, tgz, tar.xz, zip), or it is damaged or cut short and "
            "must be fetched again"
        )
        hint = "a folder of images must hold readable files" if path.is_dir() else archive
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists all it has tried
        raise ValueError(f"{path}: can't be read to its end ({reason}): {hint}") from error
    if len(tops) > 1:
        raise ValueError(f"{path}: holds several data sets, in the folders {sorted(tops)}")
    return files


def _limited(read, size, what):
    # No more than is stated: Python sets aside at once what it is asked for. 0: a link in a tar.
    data = read(size or LARGEST_FILE + 1) if size <= LARGEST_FILE else b""
    if max(size, len(data)) > LARGEST_FILE:
        raise ValueError(f"{what} holds more than {LARGEST_FILE >> 20} MiB; refused")
    return data


def _entries(path):
    """Yields (name, stated bytes, function that reads so many or None) for all, in order."""
    if path.is_dir():
        yield from (
            (
                str(file.relative_to(path)),
                file.stat().st_size,
                partial(_read, partial(file.open, "rb")),
            )
            for file in list_files(path)
        )
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name, size = entry.filename, entry.file_size
                yield name, size, partial(_read, partial(archive.open, entry))
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                yield member.name, member.size, file and file.read
            # tarfile takes any break between two files of a plain archive for its end, and does
            # not look at what follows: the checksum of a compressed one stands there.
            plain = isinstance(archive.fileobj, io.BufferedReader)
            if plain and path.stat().st_size < archive.offset + tarfile.BLOCKSIZE:
                raise EOFError("no end-of-archive mark")
            while archive.fileobj.read(1 << 20):
                pass


def _read(open_file, size):
    with open_file() as file:
        return file.read(size)


def _place(path, name):
    """Returns ([folder,] split, class, file), or None for an entry that is no image of a class."""
    entry = PureWindowsPath(name)  # knows both slashes and drive letters, on every system
    if entry.anchor or ".." in entry.parts:
        raise ValueError(f"{path}: the entry {name!r} climbs out of the archive; refused")
    hidden = entry.name.startswith(".")  # macOS adds such files to a zip
    if hidden or entry.suffix.lower() not in SUFFIXES or len(entry.parts) not in (3, 4):
        return None
    return entry.parts if entry.parts[-3] in SPLITS else None


def list_files(folder):
    """Sorted paths of all that stands in train/*/ and test/*/, in the folder or in one below it."""
    patterns = [f"{top}{split}/*/*" for top in ("", "*/") for split in SPLITS]
    return sorted(file for pattern in patterns for file in folder.glob(pattern))
