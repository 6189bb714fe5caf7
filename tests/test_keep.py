"""tools/keep.py: what is left out without training, and what becomes of an output."""

import base64
import io

import nbformat
import pytest
from PIL import Image

from tools import keep

LESSON = [
    "kept = 1\nmade = [n for n in (1, 2)]",
    "from minivit.compare import compare\n\n\ndef f():\n    kept = 5\n\n\n"
    "made = 2\nrecords = compare([], None)",
    "print(made)",
    "print(records)",
    "print(kept)",
]


@pytest.mark.integration
def test_what_needs_a_training_that_was_left_out_is_left_out_too():
    """`made` was bound twice, the second time in the cell that trains: it is no longer known."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in LESSON])
    seen = keep.run(notebook, keep.LESSONS, training=False, pictures=False)
    assert sorted(seen) == [0, 4]
    assert [output.text for output in seen[4]] == ["1\n"]
    assert not any(cell.outputs for cell in notebook.cells), "the notebook given was changed"
    wrong = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(records)")])
    with pytest.raises(keep.CellExecutionError, match="records"):
        keep.run(wrong, keep.LESSONS, training=False, pictures=False)
    wrong = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(each) for each in (*LESSON[:2], "kept / 0")]
    )
    with pytest.raises(keep.CellExecutionError, match="ZeroDivisionError"):
        keep.run(wrong, keep.LESSONS, training=False, pictures=False)


def test_names_that_a_cell_binds():
    source = (
        "import a.b\nfrom c import d as e\nf = g = 1\nfor h in ():\n    i = 2\ndef j(k):\n    m = 3"
    )
    assert keep.bound(source) == ["f", "g", "h", "i", "j"], "what is imported is there all the same"
    assert keep.bound("x[0] = [y for y in z]") == []


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def test_texts_are_joined_and_name_no_folder_of_this_machine(monkeypatch):
    monkeypatch.setenv("MINIVIT_DATA", "/".join(["", "somewhere", "data"]))
    path = "/".join(["", "x", "ipykernel_12", "34.py"])
    given = [stream("a "), stream("b\n"), stream(f"{path}:7: UserWarning: c\n", "stderr")]
    given += [stream("/".join(["data: ", "somewhere", "data", "y.tgz"]))]
    told = [(output.name, output.text) for output in keep._joined(given)]
    assert told == [
        ("stdout", "a b\n"),
        ("stderr", "this cell: UserWarning: c\n"),
        ("stdout", "data: $MINIVIT_DATA/y.tgz"),
    ]


@pytest.mark.parametrize("frames", [[], [{"name": "1"}]])
def test_a_picture_gets_a_palette_and_one_of_sliders_is_not_kept(frames):
    png = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(png, "png")
    figure = {"data": [], "frames": frames}
    data = {
        "image/png": base64.b64encode(png.getvalue()).decode(),
        "application/vnd.plotly.v1+json": figure,
    }
    kept = keep._smaller(nbformat.v4.new_output("display_data", data=data)).data
    assert ("image/png" in kept) == (not frames)
    if not frames:
        picture = Image.open(io.BytesIO(base64.b64decode(kept["image/png"])))
        assert picture.mode == "P" and picture.size == (256, 256)
