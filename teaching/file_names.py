"""What the name of a hand-in says: its learner's own, or one that a platform has written."""

import hashlib
import re
import unicodedata
from datetime import UTC, datetime

# Names that platforms give to what they hand out; `user` is their own number or login.
PLATFORMS = tuple(
    map(
        re.compile,
        (
            # Moodle: "Jane Doe_31415_assignsubmission_file_", a folder, or the start of a file name
            r"(?P<name>.+?)_(?P<user>\d+)_assignsubmission_file_.*",
            # Canvas: "doejane_LATE_314_15926_homework-1", 314 the user, 1 the second attempt
            r"(?P<name>.+?)_(?P<late>LATE_)?(?P<user>\d+)_\d+_.*?(-(?P<attempt>\d+))?",
            # nbgrader's inbound folder: "jane+04+2026-10-05 21:14:03.123456 UTC+x7"
            r"(?P<user>[^+]+)\+[^+]+\+(?P<time>\d{4}-\d\d-\d\d [^+]+)(\+.*)?",
        ),
    )
)

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def same(text):
    """One spelling for all: macOS writes ü as two characters, into names of files too."""
    return unicodedata.normalize("NFC", text).casefold()


def letters(name):
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKD", name)).casefold()


def readable(name):
    """Words in characters that can be written and do nothing: the others as backslashes and codes.

    A terminal obeys control characters, and some turn the direction of all that follows.
    """
    text = str(name).encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def facts(name, ids):
    """What the name of a file or a folder says: user, and more where a platform wrote it.

    No platform wrote what is somebody's id as it stands. Else the pattern that finds the shortest
    name is the platform's. What comes after it the learner chose, and may have made look like
    another learner's.
    """
    name = readable(name)
    if same(name) in ids:
        return {"user": name}
    matches = [match.groupdict() for pattern in PLATFORMS if (match := pattern.fullmatch(name))]
    if not matches:
        return {"user": short(name)}
    words = min(matches, key=lambda words: len(words.get("name") or words["user"]))
    return {
        "user": short(words["user"]),
        "name": short(words.get("name") or ""),
        "late": bool(words.get("late")),
        "attempt": int(words.get("attempt") or 0),
        "time": read_time(words["time"]) if "time" in words else None,
    }


def short(name):
    """Files are named after a learner: at most 150 bytes."""
    if len(name.encode()) <= 150:
        return name
    return f"{name[:25]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def read_time(text):
    """nbgrader's time, in UTC unless it has an offset; None for what can't be read."""
    try:
        time = datetime.fromisoformat(re.sub(r" ?(UTC|GMT)$", "+00:00", text.strip()))
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else None
