"""Where and how a computation runs: device, precision with its reason, random streams, time."""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec

import torch


def pick_device(name=None):
    """Returns the torch.device to use: `name` if given, else cuda, else mps, else cpu.

    Raises ValueError for a device that this machine does not have.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has = {"cpu": 1, "cuda": gpus, "mps": int(torch.backends.mps.is_available())}
    kind, _, number = str(name).partition(":")
    number = number or "0"
    if not number.isdigit() or int(number) >= has.get(kind, 0):
        raise ValueError(
            f"device {name!r} is not available here; available: {[d for d in has if has[d]]}"
        )
    return torch.device(name)


@dataclass(frozen=True)
class Precision:
    """How the forward pass computes: `dtype` of autocast, whether gradients are scaled, and why."""

    dtype: torch.dtype
    scaled: bool
    reason: str

    def autocast(self, device):
        """The autocast context for `device`; does nothing in float32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.dtype)


def pick_precision(device, name="auto"):
    """Returns the Precision for `device`; `name` is "auto", "float32", "bfloat16" or "float16".

    float16 needs its gradients scaled, or the small ones become zero. Raises ValueError otherwise.
    """
    if name not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"precision is {name!r}; one of 'auto', 'float32', 'bfloat16', 'float16'")
    if name != "auto":
        if name == "float16" and device.type != "cuda":
            raise ValueError(
                f"float16 needs cuda, for its gradient scaler; the device is {device.type}"
            )
        return Precision(getattr(torch, name), name == "float16", "asked for")
    if device.type != "cuda":
        return Precision(torch.float32, False, f"{device.type} computes in float32")
    # torch.cuda.is_bf16_supported() also says yes where bf16 is only emulated, as on a T4.
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return Precision(
            torch.bfloat16, False, f"compute capability {major}.{minor} has bf16 units"
        )
    return Precision(torch.float16, True, f"compute capability {major}.{minor} has no bf16 units")


def can_compile(device):
    """Whether torch.compile can be expected to work: on CUDA, with Triton and a C compiler.

    PyTorch brings Triton on Linux only; it needs compute capability 7.0, and a compiler of the
    system's to build what launches a kernel (on Windows it brings its own).
    """
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    compilers = os.environ.get("CC"), *map(shutil.which, ("cc", "gcc", "clang"))
    new_enough = torch.cuda.get_device_capability(device) >= (7, 0)
    return new_enough and (os.name == "nt" or any(compilers))


def stream(seed, purpose, epoch=0):
    """Returns a CPU torch.Generator for one purpose of one run ("weights", "order", …).

    The same (seed, purpose, epoch) gives the same numbers on every machine and different streams
    do not overlap: arms of one seed share their batches, and a resumed run needs no saved state.
    """
    if not is_whole(seed):  # 1.0 would be another stream than 1
        raise ValueError(f"seed is {seed!r}; it must be an int")
    key = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)


def is_whole(value):
    """Whether it is an int, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value):
    """Whether it is a whole number from 1."""
    return is_whole(value) and value >= 1


def is_pair(grid):
    """Whether it is (rows, columns), two whole numbers from 1."""
    return isinstance(grid, tuple | list) and len(grid) == 2 and all(map(is_count, grid))


def is_number(value):
    """Whether it is an int or a float, as a file of a configuration can hold it; no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextlib.contextmanager
def in_eval_mode(model):
    """Puts the model into eval mode for the block; then every module has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:  # parents first: train() sets their children, too
            if module.training != mode:
                module.train(mode)  # and not the attribute: some work in train(), as LoRA does


def uncompiled(model):
    """The module that torch.compile wrapped, or the same where it wrapped none."""
    return getattr(model, "_orig_mod", model)


def synchronize(device):
    """Waits until `device` has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Stopwatch:
    """Seconds since it was made, with the device's queue emptied before each reading."""

    def __init__(self, device):
        self.device = device
        synchronize(device)
        self.started = time.perf_counter()

    def seconds(self):
        synchronize(self.device)
        return time.perf_counter() - self.started


_counting, _here = threading.Lock(), threading.local()
_inside, _outside = 0, 1  # Python threads in `one_thread`; torch's threads before the first came


@contextlib.contextmanager
def one_thread():
    """Runs torch's CPU operations on one thread each inside the block.

    A Python thread that comes while another is inside goes back to what the first one found: a
    thread that is new to torch would find the first one's 1.
    """
    global _inside, _outside
    if getattr(_here, "inside", False):
        yield
        return
    with _counting:
        _outside = _outside if _inside else torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    _here.inside = True
    try:
        yield
    finally:
        _here.inside = False
        with _counting:
            _inside -= 1
            torch.set_num_threads(_outside)  # in here: who enters next would find the 1


def cpu_cores():
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
