"""Whose a file is, from its name alone. A wrong guess is a wrong mark."""

import json
import shutil
import unicodedata

import nbformat
import pytest
from test_grade import NOTEBOOK, in_process, run  # noqa: F401
from test_roster import CANVAS, MOODLE, OWN, folder, roster  # noqa: F401
from test_roster import in_process as ready  # noqa: F401

from teaching import grade as grading
from teaching import submissions
from teaching.file_names import readable
from teaching.roster import read_roster
from teaching.submissions import MOST_CELLS, NOTHING, read_folder


def test_a_name_that_the_learner_chose_does_not_make_it_anothers(roster, folder):  # noqa: F811
    """On Canvas, Ann hands in a file whose name looks like Moodle's of Bob's."""
    at = folder("leeann_101_9001_hw_102_assignsubmission_file_.ipynb", "raybob_102_9002_b.ipynb={}")
    ann, bob = read_folder(at, read_roster(roster(CANVAS)))
    assert ann.path.name.startswith("leeann") and ann.cells
    assert bob.path.name.startswith("raybob") and "can't be told" not in bob.problem


def test_moodles_names_may_go_on_like_canvass(roster, folder):  # noqa: F811
    at = folder("Ann Lee_301_assignsubmission_file_7_302_8_x.ipynb")
    assert read_folder(at, read_roster(roster(MOODLE)))[0].cells


@pytest.mark.parametrize(
    "text, name",
    [
        # the number of one platform is the id of somebody else
        ("id,name\n101,Bob Ray\nx7,Ann Lee\n", "leeann_101_9001_04.ipynb"),
        # two may be meant by one number
        (MOODLE.replace("Lee,,", "Lee,302,"), "A B_302_assignsubmission_file_a.ipynb"),
    ],
)
def test_where_a_number_and_a_name_disagree_nobody_gets_it(roster, folder, text, name):  # noqa: F811
    people = read_roster(roster(text))
    *known, stranger = read_folder(folder(name), people)
    assert [each.problem for each in known] == [NOTHING, NOTHING]
    assert stranger.cells and stranger.note and stranger.learner not in {one.id for one in people}


def test_a_login_like_anothers_name_is_no_name(roster, folder):  # noqa: F811
    people = read_roster(roster("id,name\nleeann,Lea Anning\nx7,Ann Lee\n"))
    lea, ann = read_folder(folder("leeann_77_9001_04.ipynb"), people)
    assert ann.cells and lea.problem == NOTHING


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_two_spellings_of_an_umlaut_are_one(roster, folder, form):  # noqa: F811
    people = read_roster(roster("id,name\nmüller,Jörg Müller\nweiß,Åsa Weiß\n"))
    names = ("müller.ipynb", "Åsa Weiß_9_assignsubmission_file_/a.ipynb")
    found = read_folder(folder(*(unicodedata.normalize(form, name) for name in names)), people)
    assert len(found) == 2 and all(each.cells for each in found)


@pytest.mark.parametrize("name", ["{}.ipynb", "{}/a.ipynb"])
@pytest.mark.parametrize(
    "id", ["kurs_2026_07_a", "KURS_LATE_2026_07_a-2", "a_7_assignsubmission_file_", 64 * "字"]
)
def test_an_id_may_look_like_a_platforms_name(roster, folder, id, name):  # noqa: F811
    """The last one is longer than the name that a stranger's file is cut to."""
    people = read_roster(roster(f"id,name\n{id.lower()},Ann Lee\n2026,Bob Ray\n7,Cyd\n"))
    ann, *others = read_folder(folder(name.format(id)), people)
    assert ann.cells and not ann.late and not ann.note
    assert [each.problem for each in others] == [NOTHING, NOTHING]


def test_what_is_no_notebook_is_not_nothing(roster, folder):  # noqa: F811
    at = folder("ann.ipynb", "ann.pdf=x", "bob.zip=x", "readme.txt=x")
    ann, bob = read_folder(at, read_roster(roster(OWN)))
    assert ann.cells and not ann.note
    assert bob.problem == "no notebook was handed in, but bob.zip"
    assert [each.learner for each in read_folder(at)] == ["ann"]  # without a roster: nobody's


def test_a_platforms_folder_without_a_notebook_says_what_is_in_it(roster, folder):  # noqa: F811
    """Moodle makes a folder for each learner, whatever is in it."""
    at = folder(
        "Ann Lee_301_assignsubmission_file_/04.ipynb.txt=x",
        "Bob Ray_302_assignsubmission_file_/hw/04.py=x",
        "Cy Doe_303_assignsubmission_file_/04.ipynb",
    )
    ann, bob, cyd = read_folder(at, read_roster(roster(MOODLE)))
    assert ann.problem == "no notebook was handed in, but 04.ipynb.txt"
    assert bob.problem == "no notebook was handed in, but 04.py"
    assert cyd.cells and cyd.note == "not in the roster"


def test_what_a_stranger_hands_in_by_a_platform_is_not_lost(folder):  # noqa: F811
    ann, bob = read_folder(folder("leeann_101_9001_04.zip=x", "raybob_102_9002_04.ipynb"))
    assert ann.problem == "no notebook was handed in, but leeann_101_9001_04.zip" and bob.cells


def test_a_zip_unpacked_where_it_lay_is_read_at_any_depth(folder):  # noqa: F811
    at = folder(
        "ann/minivit-course/exercises/04_x.ipynb",
        "ann/minivit-course/lessons/04_y.ipynb={}",
        "ann/minivit-course/exercises/.ipynb_checkpoints/04_x.ipynb={}",
        "ann/__MACOSX/exercises/04_x.ipynb={}",
        "ann/minivit-course/exercises/._04_x.ipynb={}",
    )
    (ann,) = read_folder(at, exercise="04_x")
    assert ann.cells and ann.note == "graded by its name, 04_x.ipynb; not read: 04_y.ipynb"


def test_a_second_version_beside_the_exercise_is_named(folder):  # noqa: F811
    at = folder("ann/04_x.ipynb={}", "ann/04_x_v2.ipynb", "bob/04_x.ipynb", "bob/04_x (1).ipynb")
    ann, bob = read_folder(at, exercise="04_x")
    assert "not read: 04_x_v2.ipynb" in ann.note
    assert bob.cells and not bob.note  # the same twice


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_other_encodings_are_read(folder, encoding):  # noqa: F811
    at = folder("ann.ipynb", "bob.ipynb")
    text = NOTEBOOK.read_text(encoding="utf-8")
    (at / "bob.ipynb").write_bytes(text.encode(encoding))
    ann, bob = read_folder(at)
    assert bob.cells == ann.cells


def test_a_file_that_is_not_read_says_what_to_do(folder):  # noqa: F811
    at = folder("ann.ipynb", "bob.ipynb", "cyd.ipynb=<<<<<<< HEAD\n{}")
    (at / "ann.ipynb").write_bytes(b"")
    with open(at / "bob.ipynb", "r+b") as file:
        file.truncate(10_000_001)
    ann, bob, cyd = (each.problem for each in read_folder(at))
    assert ann == "the file is empty" and "clear its outputs" in bob and "JupyterLab" in cyd


def test_only_the_code_of_a_notebook_is_checked_and_no_more_of_it_than_may_be():
    """nbformat looks at each output and each tag: millions of them took it hours."""
    cell = {"cell_type": "code", "metadata": {"tags": ["a"] * 999}, "outputs": [{}] * 9_999}
    cell |= {"attachments": {}, "id": "a", "source": ["a = 1\n", "b"], "execution_count": None}
    text = {"cell_type": "markdown", "metadata": {}, "source": "c", "attachments": {"x": [1] * 999}}
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"authors": [{}] * 999}}
    bare = submissions._bare(whole | {"cells": [cell, text]})
    assert len(json.dumps(bare)) < 300 and bare["cells"][0]["source"] == "a = 1\nb"
    assert len(submissions._bare(whole | {"cells": [cell] * 9_999})["cells"]) == MOST_CELLS + 1


def test_a_notebook_of_2014_is_read(tmp_path):
    cells = [{"cell_type": "code", "input": ["a = 1\n", "b"], "language": "python", "outputs": []}]
    cells += [{"cell_type": "markdown", "source": "c"}]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}
    (tmp_path / "ann.ipynb").write_text(json.dumps(old))
    (found,) = read_folder(tmp_path)
    assert found.cells == ("a = 1\nb",) and not found.problem


def test_a_learner_is_told_which_file_was_graded(ready, folder, tmp_path):  # noqa: F811
    """A browser names the second download of a file "… (1)": the first may still be empty."""
    at = folder(f"carol/{NOTEBOOK.stem}.ipynb={{}}", f"carol/{NOTEBOOK.stem} (1).ipynb")
    stub = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1")])
    nbformat.write(stub, at / "carol" / NOTEBOOK.name)
    assert grading.main([str(at), str(tmp_path / "out"), "--exercise", NOTEBOOK.stem]) == 0
    page = (tmp_path / "out" / "feedback" / "carol.md").read_text("utf-8")
    assert f"Graded was {NOTEBOOK.name}; not read: {NOTEBOOK.stem} (1).ipynb." in page
    note = (tmp_path / "out/grades.csv").read_text("utf-8")
    assert "is another notebook the one that was meant?; it has none of the functions" in note


def test_what_a_terminal_obeys_is_written_as_a_code():
    words = readable("a\x1b[2J\x07\x00\u202eb\u200cü\n\tc")
    assert words == "a\\x1b[2J\\x07\\x00\\u202eb\u200cü\n\tc"


def test_capitals_in_the_ending_do_not_matter(roster, folder):  # noqa: F811
    at = folder("ann.IPYNB", "bob/homework.Ipynb")
    assert all(each.cells for each in read_folder(at, read_roster(roster(OWN))))


def test_a_zip_is_to_be_unpacked(tmp_path):
    (tmp_path / "submissions.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="unpacked first"):
        read_folder(tmp_path / "submissions.zip")


def test_a_long_name_in_long_characters_can_be_written(tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "in" / f"{80 * '字'}.ipynb")
    (record,) = run(read_folder(tmp_path / "in"), tmp_path / "out")
    assert record["points"] and list((tmp_path / "out" / "feedback").glob("字*.html"))


# The command line.


def words(at, out, *more):
    return [str(at), str(out), "--exercise", NOTEBOOK.stem, "--workers=1", *more]


def test_folders_that_are_not_named_are_not_this_one(ready, folder, tmp_path, capsys):  # noqa: F811
    """`make grade` alone would take the repository for a class, and write marks into it."""
    at = folder("ann.ipynb")
    for given, said in (
        (("", str(tmp_path / "out")), "name two folders"),
        ((str(at), ""), "name two folders"),
        ((str(at), str(at / "marks")), "lies in SUBMISSIONS"),
        ((str(at), str(at)), "lies in SUBMISSIONS"),
    ):
        assert grading.main([*given, "--exercise", NOTEBOOK.stem]) == 1
        assert said in capsys.readouterr().err
    assert [path.name for path in at.iterdir()] == ["ann.ipynb"]


def test_a_missing_exercise_is_asked_for_as_make_calls_it(ready, tmp_path, capsys):  # noqa: F811
    assert grading.main([str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert "is missing; EXERCISE=" in capsys.readouterr().err


def test_what_a_deadline_and_canvas_leave_out_is_said(
    ready,  # noqa: F811
    roster,  # noqa: F811
    folder,  # noqa: F811
    tmp_path,
    capsys,
):
    at = folder("ann.ipynb", "bob+04+2026-10-05 21:14:03 UTC+x/a.ipynb")
    people = roster("id,name,canvas_id\nann,Ann,7\nbob,Bob,\ncyd,Cyd,\n")
    more = (f"--roster={people}", "--deadline=2026-10-05T20:00+00:00")
    assert grading.main(words(at, tmp_path / "out", *more)) == 0
    said = capsys.readouterr().out
    assert "1 of them carry no time" in said
    assert "due 2026-10-05 " in said and ": 1 late; extensions are counted" in said
    assert "1 handed in nothing: cyd" in said
    assert "not in it, without canvas_id: bob, cyd" in said
    assert "4 of 4 points, 7 of 7 cases passed" in (tmp_path / "out/feedback/ann.md").read_text()


def test_some_questions_of_an_exercise_are_graded_alone(ready, folder, tmp_path, capsys):  # noqa: F811
    """Learners who were not asked the others get no zeros for them, on no page and in no table."""
    at, out = folder("ann.ipynb"), tmp_path / "out"
    assert grading.main(words(at, out, "--questions=logit-form, patch-matrix")) == 0
    table = (out / "grades.csv").read_text("utf-8").splitlines()
    assert table[0].startswith("learner,name,file,patch-matrix,logit-form,points,of")
    assert ",3,4,7,7," in table[1]
    assert "masked-reading" not in (out / "feedback/ann.md").read_text("utf-8")
    capsys.readouterr()
    assert grading.main(words(at, out)) == 0
    assert "had marks of logit-form, patch-matrix; now it gets" in capsys.readouterr().out
    kept = (out / "grades.csv").read_bytes()
    assert grading.main(words(at, out, "--questions=logit-form", "--regrade")) == 1
    said = capsys.readouterr().err
    assert "; masked-reading, other-layout, patch-matrix are not asked for now" in said
    assert (out / "grades.csv").read_bytes() == kept, "nothing is lost"
    assert grading.main(words(at, out, "--questions=qk-head")) == 1
    assert "asks patch-matrix, masked-reading" in capsys.readouterr().err
