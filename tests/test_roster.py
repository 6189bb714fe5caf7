"""Rosters, and names of files as Canvas, Moodle and nbgrader write them."""

import csv
import io
import os
import shutil

import pytest
from test_grade import KEYS, NOTEBOOK, SOLUTION, InProcess, run

from teaching import feedback
from teaching import grade as grading
from teaching.roster import read_due, read_roster
from teaching.submissions import NOTHING, read_folder

ALL = sum(key.question.points for key in KEYS)
OWN = "id,name\nann,Ann Lee\nbob,Bob Ray\n"
CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Exercise 4 (31415)\n"
    "    Points Possible,,,,,16\n"
    '"Lee, Ann",101,S1,ann@x.edu,A,\n'
    '"Ray, Bob",102,S2,bob@x.edu,B,\n'
)
MOODLE = (
    "Identifier,Full name,ID number,Email address,Status,Grade\n"
    "Participant 301,Ann Lee,,ann@x.edu,,\nParticipant 302,Bob Ray,,bob@x.edu,,\n"
)


@pytest.fixture
def roster(tmp_path):
    def written(text, encoding="utf-8"):
        path = tmp_path / "class.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return written


@pytest.fixture
def folder(tmp_path):
    """A function that puts solved notebooks (or, text after "=", other ones) into a folder."""

    def filled(*names):
        at = tmp_path / "in"
        for each in names:
            name, _, text = each.partition("=")
            (at / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(NOTEBOOK, at / name)
            if text:
                (at / name).write_text(text)
        return at

    return filled


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_three_kinds_of_roster(roster, comma, encoding):
    ann, bob = read_roster(roster(OWN.replace(",", comma), encoding))
    assert (ann.id, bob.name) == ("ann", "Bob Ray")
    text = "id,name,extension_hours,time_factor,canvas_id\nann,Ann,48,1.5,7\n\nbob,Bob,,,\n"
    ann, bob = read_roster(roster(text.replace(",", comma), encoding))
    assert (ann.extension_hours, ann.time_factor, bob.time_factor) == (48, 1.5, 1)
    assert ann.canvas == ("Ann", "7", "", "ann", "") and bob.canvas == ()
    ann, bob = read_roster(roster(CANVAS, encoding))
    assert ann.id == "ann@x.edu" and {"101", "S1"} < set(ann.aliases)
    assert bob.canvas == ("Ray, Bob", "102", "S2", "bob@x.edu", "B")
    ann, _ = read_roster(roster(MOODLE, encoding))
    assert ann.id == "ann@x.edu" and "301" in ann.aliases


@pytest.mark.parametrize(
    "header, line, id, canvas",
    [
        ("Student,ID,Section", '"Ray, Bob",102,B', "102", ("Ray, Bob", "102", "", "", "B")),
        (
            "LastName,FirstName,ID,SIS Login ID,Section",
            "Ray,Bob,102,bob@x.edu,B",
            "bob@x.edu",
            ("Ray, Bob", "102", "", "bob@x.edu", "B"),
        ),
    ],
)
def test_canvas_leaves_columns_out_or_splits_the_name(roster, folder, header, line, id, canvas):
    people = read_roster(roster(f"{header},Exercise 4 (31415)\n{line},\n"))
    assert [(each.id, each.canvas) for each in people] == [(id, canvas)]
    assert read_folder(folder("raybob_102_9002_04.ipynb"), people)[0].cells


def test_moodle_says_itself_who_was_late(roster, folder):
    status = [
        "Submitted for grading - 3 mins 31 secs late - Released -  - ",
        "Submitted for grading - Released -  - ",
        "No submission - Assignment is overdue by: 2 days",
        "Submitted for grading - 1 day 2 hours late",
    ]
    names = ["Ann Lee", "Bob Ray", "Cyd Latecomer", "Dan Late"]
    rows = [f"Participant {n},{name},{status[n]}" for n, name in enumerate(names)]
    people = read_roster(roster("\n".join(["Identifier,Full name,Status", *rows])))
    files = [f"{name}_{n}_assignsubmission_file_/x.ipynb" for n, name in enumerate(names)]
    late = [each.late for each in read_folder(folder(files[0], files[1], files[3]), people)]
    assert late == ["3 mins 31 secs late in Moodle", "", "", "1 day 2 hours late in Moodle"]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "is empty; a roster begins with the line id,name"),
        (" \n\n", "is empty"),
        ("id,name\n", "but no learner below them"),
        ("Login,Name\nann,Ann\n", "has the columns Login, Name; a roster has id and name, or"),
        ("ann,Ann\nbob,Bob\n", "has the columns ann, Ann;"),
        (OWN + "Ann,Other\n", "line 4: the id 'Ann' is in line 2 already"),
        (OWN + ",Nobody\n", "line 4: the id '' must have 1 to 64 characters"),
        (OWN + "../up,Eve\n", "line 4: the id '../up' must have"),
        (OWN + "a,b,c\n", "line 4 has 3 cells, and the first line 2"),
        ("id,name,id\nann,Ann,x\n", "has the column 'id' more than once"),
        ("id,name,time_factor\nann,Ann,half\n", "time_factor is 'half'; it must be from 1 to 10"),
        ("id,name,time_factor\nann,Ann,0.5\n", "time_factor is '0.5'; it must be from 1"),
        ("id,name,extension_hours\nann,Ann,-1\n", "extension_hours is '-1'"),
        ("id,name,extension_hours\nann,Ann,nan\n", "extension_hours is 'nan'"),
    ],
)
def test_a_bad_roster_gets_a_sentence(roster, text, sentence):
    with pytest.raises(ValueError) as error:
        read_roster(roster(text))
    assert sentence in str(error.value) and "class.csv" in str(error.value)


def test_a_roster_that_is_no_text_gets_a_sentence(roster, tmp_path):
    with pytest.raises(ValueError, match="not UTF-8; in Excel save it as"):
        read_roster(roster("id,name\nann,Jörg\n", "cp1252"))
    with pytest.raises(ValueError, match="can't be read"):
        read_roster(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "names, text",
    [
        (("ann.ipynb", "bob/any name.ipynb"), OWN),
        (("leeann_101_9001_04-1.ipynb", "raybob_LATE_102_9002_my_work.ipynb"), CANVAS),
        (("leeann_77_9001_04.ipynb", "raybob_78_9002_04.ipynb"), OWN),  # by their names
        (("Ann Lee_301_assignsubmission_file_/a.ipynb", "302/x.ipynb"), MOODLE),
        (("Ann Lee_9_assignsubmission_file_a.ipynb", "bob/04/x.ipynb"), OWN),
        (("ann/04/a.ipynb", "bob+04+2026-10-05 21:14:03.1 UTC+x/a.ipynb"), OWN),
    ],
)
def test_names_of_files_find_their_learners(roster, folder, names, text):
    people = read_roster(roster(text))
    found = read_folder(folder(*names), people)
    assert [each.learner for each in found] == [each.id for each in people]
    assert all(each.cells and not each.problem and not each.note for each in found)
    assert found[0].name == people[0].name


def test_missing_and_unknown_learners_are_neither_lost_nor_an_end(roster, folder):
    ann, bob, eve = read_folder(folder("ann.ipynb", "eve.ipynb"), read_roster(roster(OWN)))
    assert ann.cells and bob.problem == NOTHING and eve.cells
    assert (eve.learner, eve.note) == ("eve", "not in the roster")


def test_a_name_that_two_share_finds_neither(roster, folder):
    people = read_roster(roster("id,name\na1,Ann Lee\na2,Ann Lee\n"))
    first, second, stranger = read_folder(folder("leeann_77_9001_04.ipynb"), people)
    assert first.problem == second.problem == NOTHING and stranger.note == "not in the roster"


def test_the_latest_of_several_counts(folder):
    at = folder("leeann_7_1_04.ipynb=old", "leeann_7_2_04-2.ipynb", "leeann_7_3_04-1.ipynb={}")
    (ann,) = read_folder(at)
    assert ann.cells and "the latest of 3 notebooks: leeann_7_2_04-2.ipynb" in ann.note
    at = folder(
        "bob+04+2026-10-05 21:14:03 UTC+x/a.ipynb", "bob+04+2026-10-05 21:14:02 UTC+y/a.ipynb={}"
    )
    assert read_folder(at)[0].cells


def test_which_of_several_counts_is_never_guessed(folder):
    (ann, bob) = read_folder(folder("ann/a.ipynb={}", "ann/b.ipynb", "bob/a.ipynb", "bob/b.ipynb"))
    assert "can't be told which counts: ann/a.ipynb, ann/b.ipynb" in ann.problem and not ann.cells
    assert bob.cells  # both say the same
    found = read_folder(folder("ann/04_x.ipynb={}", "ann/b.ipynb"), exercise="b")
    assert found[0].cells


def test_late_ones_are_marked_by_each_ones_own_deadline(roster, folder):
    due = read_due("2026-10-05T22:00+00:00", "2026-10-05T20:00+00:00")
    text = "id,name,extension_hours,time_factor\nann,A,,\nbob,B,,1.5\ncyd,C,2,\n"
    names = [f"{name}/04/a.ipynb" for name in ("ann", "bob", "cyd")]
    at = folder(*names, "dan_LATE_4_5_a.ipynb")
    for name in names:
        (at / name).with_name("timestamp.txt").write_text("2026-10-05 22:30:00.5 UTC\n")
    ann, bob, cyd, dan = read_folder(at, read_roster(roster(text)), due=due)
    assert (ann.late, bob.late, cyd.late, dan.late) == ("0.5 h", "", "", "LATE in Canvas")
    for words in (("soon", None), ("2026-10-05T22:00", "2026-10-06T22:00"), (None, "2026-10-05")):
        with pytest.raises(ValueError, match=r"is no time|not before|needs a --deadline"):
            read_due(*words)
    for words in (("2026-10-05", None), ("2026-10-05T22:00", "2026-10-05")):
        with pytest.raises(ValueError, match="has no time of day"):
            read_due(*words)
    evening = read_due("2026-10-05T23:00+00:00")
    for words in ("2026-10-05T23+00:00", "20261005T230000Z", "2026-10-05T2300Z"):
        assert read_due(words) == evening, "ISO 8601 has more than one way to write a time"


def test_a_linked_folder_is_not_followed(folder, tmp_path):
    at = folder("ann/readme.ipynb")
    (at / "ann" / "readme.ipynb").unlink()
    (at / "ann" / "work").symlink_to(NOTEBOOK.parent)
    (ann,) = read_folder(at)
    assert ann.problem and not ann.cells


@pytest.mark.integration
def test_a_file_name_can_be_anything(folder, tmp_path):
    at = folder("x" * 240 + ".ipynb", "=@SUM(A1).ipynb".replace("=@", "@"))
    shutil.copy(NOTEBOOK, os.fsencode(at) + b"/\xff.ipynb")
    records = run(read_folder(at), tmp_path / "out")
    assert [each["points"] for each in records] == [ALL, ALL, ALL]
    assert "\n'@SUM(A1)," in (tmp_path / "out" / "grades.csv").read_text("utf-8")


def rows(path):
    return list(csv.reader(io.StringIO(path.read_text("utf-8"))))


@pytest.fixture
def in_process(monkeypatch, tmp_path):
    monkeypatch.setattr(grading, "Sandbox", InProcess)
    monkeypatch.setattr(grading, "require", lambda: None)
    monkeypatch.setattr(grading, "TERM_FILE", tmp_path / ".term")
    (tmp_path / ".term").write_text("s" * 32)


def test_grading_with_canvas_roster_from_the_command_line(
    in_process, roster, folder, tmp_path, capsys
):
    at = folder("leeann_101_9001_04.ipynb", "eve.ipynb={}")
    out, path = tmp_path / "out", roster(CANVAS)
    words = [str(at), str(out), "--exercise", NOTEBOOK.stem, "--roster", str(path), "--workers=1"]
    assert grading.main([*words, "--regrade"]) == 1
    assert "holds no marks yet" in capsys.readouterr().err
    assert grading.main([*words, "--column", "Exercise 4 (31415)"]) == 0
    assert "1 need a look (column note): eve" in capsys.readouterr().out
    header, possible, ann = rows(out / "canvas.csv")  # a 0 would overwrite what Bob was promised
    assert header == [*CANVAS.splitlines()[0].split(",")[:5], header[-1]]
    assert header[-1] == "Exercise 4 (31415)" and possible[0].strip() == "Points Possible"
    assert ann == ["Lee, Ann", "101", "S1", "ann@x.edu", "A", str(ALL)]
    _, ann, bob, eve = rows(out / "grades.csv")
    assert ann[:2] == ["ann@x.edu", "Lee, Ann"] and bob[-1] == NOTHING
    assert "not in the roster" in eve[-1] and "not a notebook" in eve[-1]
    assert "Lee" not in (out / "feedback" / "ann@x.edu.html").read_text("utf-8")


def test_nothing_is_graded_with_a_bad_roster(in_process, roster, folder, tmp_path, capsys):
    path = roster("Login,Name\n")
    words = [str(folder("a.ipynb")), str(tmp_path / "out"), "--exercise", NOTEBOOK.stem]
    assert grading.main([*words, f"--roster={path}"]) == 1
    error = capsys.readouterr().err
    assert "has the columns Login, Name" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_regrading_lists_whose_marks_changed(in_process, folder, tmp_path, monkeypatch, capsys):
    at, out = folder("ann.ipynb", "bob.ipynb"), tmp_path / "out"
    words = [str(at), str(out), "--exercise", NOTEBOOK.stem, "--workers=1"]
    real = grading.grade_one

    def unfair(box, submission, keys, secret, limits):
        record = real(box, submission, keys, secret, limits)
        if submission.learner == "bob":
            record["questions"][1]["points"] = 0.0
        return record

    monkeypatch.setattr(grading, "grade_one", unfair)
    assert grading.main(words) == 0
    assert rows(out / "changes.csv") == [["learner", "question", "before", "now"]]
    monkeypatch.setattr(grading, "grade_one", real)
    assert grading.main([*words, "--regrade"]) == 0
    assert "0 marks differ" in capsys.readouterr().out  # the same grader: nothing is done again
    monkeypatch.setattr(grading, "grader_digest", lambda *_: "mended")
    id, points = KEYS[1].question.id, KEYS[1].question.points
    for _ in range(2):  # asked again, the list is the same
        assert grading.main([*words, "--regrade"]) == 0
        assert f"bob: {id} 0 → {points}" in capsys.readouterr().out
        assert rows(out / "changes.csv")[1:] == [["bob", id, "0", str(points)]]
    (at / "bob.ipynb").write_text("{}")  # another file is no change of the judge's
    assert grading.main([*words, "--regrade"]) == 0
    assert "0 marks differ" in capsys.readouterr().out


def test_formulas_are_text():
    assert feedback._plain("=1+1") == "'=1+1" and feedback._plain(-3) == -3
    assert SOLUTION.cells
