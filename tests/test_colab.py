"""The check that plays Colab sees what would break there."""

import subprocess
import sys

import pytest

from minivit.explorers import Control, Explorer
from minivit.views import View
from tools import colab

HAD = {"ipywidgets": "7.7.1", "numpy": "2.1.3"}


def test_an_added_package_is_no_harm(capsys):
    colab.check_only_added(HAD, {**HAD, "minivit": "0.1.0"})
    assert "minivit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "after",
    [
        {**HAD, "numpy": "2.2.0"},
        {"numpy": "2.1.3"},
        {**HAD, "jupyterlab": "4.4.0"},
    ],
)
def test_a_replaced_a_lost_and_an_unwanted_package_are(after):
    with pytest.raises(SystemExit, match="Colab"):
        colab.check_only_added(HAD, after)


def test_what_torch_needs_is_found_and_what_only_an_extra_needs_is_not():
    found = colab.needed(["torchvision"])
    assert {"torch", "torchvision", "sympy", "mpmath"} <= found
    assert "optree" not in found  # torch[optree]


def test_the_kernel_reaches_nothing_but_this_machine(tmp_path):
    (tmp_path / "refuse_network.py").write_text(colab.REFUSE, encoding="utf-8")
    script = """
import socket, refuse_network
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
for attempt in (lambda: socket.create_connection(("example.org", 80)),
                lambda: socket.socket().connect(("192.0.2.1", 80))):
    try:
        attempt()
    except OSError as error:
        assert "no network here" in str(error), error
    else:
        raise AssertionError("reached the network")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_every_slider_of_a_lesson_is_moved_to_both_ends(capsys):
    seen = []

    def compute(left, right):
        seen.append((left, right))
        if (left, right) == (3, 6) and broken:
            raise ZeroDivisionError
        return View(panels=(), numbers={})

    controls = {
        "left": Control(label="left", values=(1, 2, 3), start=2),
        "right": Control(label="right", values=(4, 5, 6), start=5),
    }
    for broken in (False, True):
        namespace = {"knobs": Explorer(compute, controls, source="nowhere"), "other": 1}
        if broken:
            with pytest.raises(ZeroDivisionError):
                exec(colab.MOVE, namespace)
        else:
            exec(colab.MOVE, namespace)
            assert capsys.readouterr().out == "2\n"
            assert {(1, 5), (3, 5), (3, 4), (3, 6)} <= set(seen)
