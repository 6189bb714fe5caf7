"""Jobs in processes: results, and each way in which a process or its caller can die."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing import connection, util
from pathlib import Path

import psutil
import pytest

import minivit.workers as module
from minivit.workers import in_processes

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]


class Double:
    """Doubles a number, and does what `orders` says of it."""

    def __init__(self, **orders):
        self.orders = {int(job.lstrip("_")): order for job, order in orders.items()}
        self.ballast = bytes(1 << 20)  # more than a pipe holds

    def __call__(self, job, callback):
        callback(f"begun in {os.getpid()}")
        match self.orders.get(job):
            case "fail":
                raise ValueError(f"{job} is not to my liking")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                time.sleep(300)
        return 2 * job


def results(run, jobs, processes, heard=None):
    return dict(in_processes(run, jobs, processes, heard or (lambda job, news: None)))


def test_every_job_is_done_once_and_heard_of():
    news = []
    jobs = [1, 2, 3, 4, 0]  # the last counts as False, and is a job like the others
    found = results(Double(), jobs, 2, lambda job, said: news.append((job, said)))
    assert found == {0: 0, 1: 2, 2: 4, 3: 6, 4: 8}
    assert sorted(job for job, _ in news) == [0, 1, 2, 3, 4]
    assert len({said for _, said in news}) <= 2
    assert not multiprocessing.active_children(), "no process is left"


def test_what_to_do_is_sent_in_parts(monkeypatch):
    """Windows keeps a message in memory that is scarce; what to do may hold a training set."""
    send, sizes = connection.Connection._send_bytes, []

    def noted(self, data):
        sizes.append(len(data))
        return send(self, data)

    monkeypatch.setattr(connection.Connection, "_send_bytes", noted)
    todo = Double()
    todo.ballast = bytes(range(256)) * (5 << 12)  # 5 MiB
    assert results(todo, [1, 2], 1) == {1: 2, 2: 4}
    assert max(sizes) <= module.PART and sum(sizes) > 5 << 20


def test_a_failing_job_is_named_and_the_others_are_ended():
    with pytest.raises(RuntimeError, match="1: ValueError: 1 is not to my liking"):
        results(Double(_0="wait", _1="fail"), [0, 1], 2)
    assert not multiprocessing.active_children()


def test_a_dying_process_is_a_sentence():
    with pytest.raises(RuntimeError, match=r"a training process died .exit code -9; .*memory"):
        results(Double(_0="wait", _1="die"), [0, 1], 2)
    assert not multiprocessing.active_children()


def test_a_process_that_dies_before_it_reads_anything_is_a_sentence(monkeypatch):
    """What is given to a process as an argument would be written into a pipe that nobody reads."""
    spawn = util.spawnv_passfds

    def spawn_and_kill(path, arguments, descriptors):
        pid = spawn(path, arguments, descriptors)
        if any(b"spawn_main" in os.fsencode(argument) for argument in arguments):
            os.kill(pid, signal.SIGKILL)
        return pid

    monkeypatch.setattr(util, "spawnv_passfds", spawn_and_kill)
    with pytest.raises(RuntimeError, match=r"a training process died .exit code -9; .*memory"):
        results(Double(), [0, 1], 2)


CALLER = """
from minivit.workers import in_processes
from test_workers import Double

if __name__ == "__main__":
    for _ in in_processes({work}, 2, lambda job, news: print(news, flush=True)):
        pass
"""


@pytest.mark.parametrize(
    "work",
    ["Double(), range(200_000)", "Double(_0='wait', _1='wait'), range(2)"],
    ids=["between jobs", "in the midst of a long one"],
)
def test_processes_end_when_their_caller_is_killed(tmp_path, work):
    script = tmp_path / "caller.py"
    script.write_text(CALLER.format(work=work))
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        text=True,
    ) as caller:
        workers = set()
        while len(workers) < 2:
            workers.add(psutil.Process(int(caller.stdout.readline().split()[-1])))
        caller.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


def half_a_message(pipe):
    os.write(pipe.fileno(), (1000).to_bytes(4, "big") + b"as many bytes were to come")


@pytest.mark.parametrize(
    "say",
    [
        lambda pipe: None,
        half_a_message,
        lambda pipe: pipe.send(2 * module.PART) or pipe.send_bytes(b"the first part"),
        lambda pipe: module._send(pipe, pickle.dumps(print)),
    ],
    ids=["nothing", "half of a message", "half of what to do", "what to do, and no job"],
)
def test_a_process_that_waits_ends_when_its_caller_is_gone(say, monkeypatch):
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(module.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(module, "_end_with_the_caller", lambda: None)  # this process has none
    here, there = multiprocessing.Pipe()
    say(here)
    here.close()
    with pytest.raises(SystemExit, match="what was done is kept"):
        module._serve(there)


def test_ctrl_c_waits_until_all_processes_have_started(monkeypatch):
    """They take seconds to start; a terminal sends Ctrl-C to them too, and they print it."""
    held = []

    def start(self):
        held.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        raise KeyboardInterrupt

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", start)
    with pytest.raises(KeyboardInterrupt):
        results(Double(), [0, 1], 2)
    assert held == [True] and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
