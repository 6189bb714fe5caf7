"""Device, precision with its reason, and random streams that do not depend on one another."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from minivit import runtime
from minivit.runtime import can_compile, one_thread, pick_device, pick_precision, stream


def test_streams_repeat_and_differ_in_every_part():
    def first(*key):
        return torch.rand(4, generator=stream(*key))

    assert torch.equal(first(3, "order", 2), first(3, "order", 2))
    others = [
        (4, "order", 2),
        (3, "weights", 2),
        (3, "order", 1),
        (31, "order", 2),
        (3, "order", 12),
    ]
    for other in others:
        assert not torch.equal(first(3, "order", 2), first(*other)), other


def test_streams_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    torch.rand(5, generator=stream(0, "order"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_device_is_a_sentence():
    with pytest.raises(ValueError, match="is not available here"):
        pick_device("cuda" if not torch.cuda.is_available() else "mps")
    with pytest.raises(ValueError, match=r"device 'gpu' is not available here; available: \['cpu'"):
        pick_device("gpu")  # torch's own error lists twenty names
    assert pick_device("cpu:0") == pick_device(torch.device("cpu", 0)) == torch.device("cpu:0")


def test_precision_says_why(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert pick_precision(cpu).dtype == torch.float32
    # A T4 (7.5) emulates bf16 and says that it supports it.
    for capability, dtype, scaled in (
        ((7, 5), torch.float16, True),
        ((8, 0), torch.bfloat16, False),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        found = pick_precision(cuda)
        assert (found.dtype, found.scaled) == (dtype, scaled)
        assert f"{capability[0]}.{capability[1]}" in found.reason
    with pytest.raises(ValueError, match="precision is 'fp8'"):
        pick_precision(cpu, "fp8")
    with pytest.raises(ValueError, match="float16 needs cuda"):
        pick_precision(cpu, "float16")


def test_one_thread_gives_the_threads_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        assert torch.get_num_threads() == 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_threads_that_overlap_in_one_thread_all_get_theirs_back():
    """The second comes while the first is inside, and would go back to the first one's 1."""
    before, entered, seen = torch.get_num_threads(), threading.Event(), []

    def first():
        with one_thread():
            entered.set()
            time.sleep(0.3)
        seen.append(torch.get_num_threads())

    def second():
        entered.wait()
        with one_thread(), one_thread():
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    torch.set_num_threads(4)
    try:
        both = [threading.Thread(target=each) for each in (first, second)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert sorted(seen) == [1, 4, 4] and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_workers_of_a_pool_inside_may_ask_for_one_thread_too():
    def work(_):
        with one_thread():
            return torch.get_num_threads()

    before = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2), timeout=60)) == [1, 1]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_number_beyond_the_last_gpu_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    for name in ("cuda:2", "cuda:x", "cpu:1"):
        with pytest.raises(ValueError, match=f"device '{name}' is not available here"):
            pick_device(name)


def test_it_compiles_only_where_triton_and_a_compiler_are(monkeypatch):
    machine = {"triton": True, "capability": (8, 0), "compiler": "/usr/bin/gcc"}
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(runtime, "find_spec", lambda _: machine["triton"] or None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: machine["capability"])
    monkeypatch.setattr(runtime.shutil, "which", lambda _: machine["compiler"])
    cuda = torch.device("cuda")
    assert can_compile(cuda) and not can_compile(torch.device("cpu"))
    for lack in ({"triton": False}, {"capability": (6, 1)}, {"compiler": None}):
        before = dict(machine)
        machine.update(lack)
        assert not can_compile(cuda), lack
        machine.update(before)
    machine["compiler"] = None
    monkeypatch.setenv("CC", "/opt/cc")
    assert can_compile(cuda)
