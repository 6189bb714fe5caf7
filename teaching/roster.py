"""Who is in the class: a CSV file of your own, Canvas's gradebook export, Moodle's worksheet.

| whose | columns that must be there | may be there |
| --- | --- | --- |
| yours | id, name | canvas_id, moodle_id |
| Canvas | Student (or LastName, FirstName), ID, Section | SIS User ID, SIS Login ID |
| Moodle | Identifier, Full name | ID number, Email address, Status |

Each may also have extension_hours, and time_factor (1.5: half as much time again, in a timed
session). Commas, semicolons or tabs; UTF-8, with or without the mark that Excel puts in front.
"""

import csv
import io
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

# What Canvas's import wants to find, in this order. Its export has the two in the middle only for
# those who may see them, and two columns for a name where the class shows last names apart.
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
CANVAS_HAS, CANVAS_APART = ("Student", "ID", "Section"), ("LastName", "FirstName", "ID", "Section")
MOODLE = ("Identifier", "Full name")
OWN = ("id", "name")
ID = re.compile(r"[^\s/\\.][^/\\\x00-\x1f]{0,63}")
# Moodle's Status: "Submitted for grading - 3 mins 31 secs late - Released"
MOODLE_LATE = re.compile(r"(?:^| - )(\d[\w ]* late)(?: - |$)")


@dataclass(frozen=True)
class Learner:
    """One line of a roster.

    aliases: what Canvas, Moodle or JupyterHub may call this learner. late: what the platform itself
    says of how late the work came in, or empty.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    extension_hours: float = 0.0
    time_factor: float = 1.0
    canvas: tuple[str, ...] = ()  # the five columns of CANVAS
    late: str = ""


@dataclass(frozen=True)
class Due:
    """When it is due. opened: begin of a timed session, from which a time factor counts."""

    deadline: datetime
    opened: datetime | None = None

    def for_(self, learner):
        extra = timedelta(hours=learner.extension_hours)
        if self.opened is None:
            return self.deadline + extra
        return self.opened + learner.time_factor * (self.deadline - self.opened) + extra


def read_due(deadline, opened=None):
    """A Due from two texts, as 2026-10-05T23:59+02:00; without an offset, this machine's time.

    Raises ValueError for a text that is no time, and where it is due before it opens.
    """
    if deadline is None:
        if opened:
            raise ValueError("--opened needs a --deadline beside it")
        return None
    due = Due(_moment(deadline), _moment(opened) if opened else None)
    if due.opened and due.opened >= due.deadline:
        raise ValueError(f"it opens at {opened}, which is not before the deadline, {deadline}")
    return due


def _moment(text):
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write it as 2026-10-05T23:59+02:00") from None
    if len(text.strip()) <= len("2026-10-05"):
        raise ValueError(
            f"{text!r} has no time of day, and would be due as that day begins; write it as "
            "2026-10-05T23:59+02:00"
        )
    return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC)


def read_roster(path):
    """The learners in the file's order.

    Raises ValueError, with the line, for a file that is missing, empty, not UTF-8 or not a table,
    and for wrong columns, ids that are missing, twice there or no file name, and bad numbers.
    """
    rows = _rows(Path(path))
    header, kind = list(rows[0][1]), _kind(path, rows[0][1])
    learners, lines = [], {}
    for number, row in rows[1:]:
        where = f"{path}, line {number}"
        learner = kind(row, where)
        if learner is None:
            continue
        if not ID.fullmatch(learner.id):
            raise ValueError(
                f"{where}: the id {learner.id!r} must have 1 to 64 characters, no slash among them "
                "and no dot in front: files are named after it"
            )
        first = lines.setdefault(learner.id.casefold(), number)
        if first != number:
            raise ValueError(f"{where}: the id {learner.id!r} is in line {first} already")
        learners.append(learner)
    if not learners:
        raise ValueError(f"{path} has the columns {', '.join(header)}, but no learner below them")
    return learners


def _rows(path):
    """[(line, {column: cell})]; ValueError where this is no table."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: the roster can't be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; in Excel save it as “CSV UTF-8”") from None
    if not text.strip():
        raise ValueError(f"{path} is empty; a roster begins with the line id,name")
    first = text.lstrip().splitlines()[0]
    comma = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
    table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    table = [(number, row) for number, row in table if any(row)]
    header = table[0][1]
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has the column {sorted(twice)[0]!r} more than once")
    for number, row in table:
        if len(row) > len(header):
            raise ValueError(
                f"{path}, line {number} has {len(row)} cells, and the first line {len(header)}"
            )
    return [(n, dict(zip(header, row + [""] * len(header), strict=False))) for n, row in table]


def _kind(path, header):
    kinds = ((CANVAS_HAS, _canvas), (CANVAS_APART, _canvas), (MOODLE, _moodle), (OWN, _own))
    for columns, kind in kinds:
        if all(name in header for name in columns):
            return kind
    raise ValueError(
        f"{path} has the columns {', '.join(header)}; a roster has id and name, or is Canvas's "
        f"gradebook export ({', '.join(CANVAS_HAS)}) or Moodle's worksheet ({', '.join(MOODLE)}), "
        "in English: set the platform to English for the download, or rename the columns"
    )


def _own(row, where):
    aliases = (row.get("canvas_id", ""), row.get("moodle_id", ""))
    canvas = (row["name"], aliases[0], "", row["id"], "") if aliases[0] else ()
    return _learner(row, where, row["id"], row["name"], aliases, canvas)


def _canvas(row, where):
    if not row["ID"]:  # the lines of points possible and of posting policies
        return None
    if "Student" not in row:
        row = {**row, "Student": f"{row['LastName']}, {row['FirstName']}"}
    canvas = name, number, sis, login, _ = tuple(row.get(column, "") for column in CANVAS)
    return _learner(row, where, login or number, name, (number, sis, login), canvas)


def _moodle(row, where):
    number = row["Identifier"].removeprefix("Participant").strip()
    aliases = (number, row.get("ID number", ""), row.get("Email address", ""))
    late = MOODLE_LATE.search(row.get("Status", ""))
    learner = _learner(row, where, next(filter(None, aliases[::-1])), row["Full name"], aliases, ())
    return replace(learner, late=f"{late[1]} in Moodle" if late else "")


def _learner(row, where, id, name, aliases, canvas):
    extension = _number(row, "extension_hours", where, 0.0, 0.0, 24.0 * 365)
    factor = _number(row, "time_factor", where, 1.0, 1.0, 10.0)
    aliases = tuple(dict.fromkeys(filter(None, (id, *aliases))))
    return Learner(id, name, aliases, extension, factor, canvas)


def _number(row, column, where, default, low, high):
    text = row.get(column, "").replace(",", ".")
    try:
        value = float(text) if text else default
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ValueError(f"{where}: {column} is {text!r}; it must be from {low:g} to {high:g}")
    return value
