"""The tables of what the GPU queue measured and this repository keeps, for RESULTS.md."""

from pathlib import Path
from statistics import median

from benchmarks.gpu_plan import MARKS
from benchmarks.gpu_state import Results
from benchmarks.measure import Row, Section, ratio, timed_row
from benchmarks.time_to import mark_section
from minivit.records import Record

KEPT = Path(__file__).parent / "records" / "gpu"
AGAIN = (
    "From `python -m benchmarks.gpu_queue` (GPU.md) on another machine; kept, not measured anew."
)
STEP_NOTES = (
    "Ratio: timm's eager time / its time. Graphed: compiled, recorded as a CUDA graph and "
    "replayed, which is how `minivit.train` runs there.",
    "A large product: 8192 × 8192 × 8192 in the same precision, measured in the same process.",
    AGAIN,
)
ATTEMPT_NOTE = (
    "Ratio: the time of the first row / its time; one after the other, not interleaved, so the "
    "last row says how far the machine drifted."
)
EPOCH_NOTES = (
    "Ratio: its time / minivit's. With flip and crop, without validation. The script: PIL images, "
    "a DataLoader with pinned memory, the same model in eager mode with autocast.",
    AGAIN,
)
TOGETHER_NOTES = (
    "With validation, and with a checkpoint after each epoch, which `train` no longer writes on a "
    "GPU. Without it one alone has more images a second than four with it (the median epoch of the "
    "whole run below), so the queue runs one at a time.",
    AGAIN,
)
MARK_NOTE = (
    "Seconds: each run had the device for itself; validation is in them, and compilation in those "
    "of a process's first run; the checkpoints that follow some epochs are not."
)
ROUNDED = "Rounded to half the bytes on the way to another machine: {} of {} runs."
RUN_NOTES = (
    "Seconds of an epoch with validation, without the checkpoint that follows it. A process "
    "compiles in the first epoch of its first run, and for longer on a machine that never did.",
    AGAIN,
)


def gpu_sections(**_):
    """A Section for each measurement, and one for the runs."""
    entries = list(Results(KEPT).entries.values())
    for entry in entries:
        if entry["kind"] in SECTIONS and "result" in entry:
            yield SECTIONS[entry["kind"]](entry["result"], _size(entry["model"]))
    rows = [_run_row(entry) for entry in entries if _quotable(entry)]
    if rows:
        yield Section(title="Whole runs on a GPU", rows=rows, notes=RUN_NOTES)
    yield from mark_sections(entries)


def mark_sections(entries):
    """The Section on the time to each mark of which one candidate was tried."""
    found = records(entries)
    for mark in MARKS:
        tried = [r for r in found if r.role == "tuning" and r.variant in mark.candidates]
        if tried:
            own = [r for r in found if r.variant in mark.candidates]
            rounded = [e for e in entries if e.get("rounded") and "record" in e]
            rounded = [r for r in records(rounded) if r.variant in mark.candidates]
            notes = [MARK_NOTE] + [ROUNDED.format(len(rounded), len(own))] * bool(rounded)
            yield mark_section("on a GPU", own, mark, notes=notes)


def records(entries):
    """The Records of the runs that are finished, among the entries of a GPU queue."""
    return [Record(**entry["record"]) for entry in entries if "record" in entry]


def _size(model):
    return f"d {model['dim']}, {model['depth']} layers, patch {model['patch_size']}"


def _steps(result, size):
    goals = {"minivit eager": "≥ 0.97×", "minivit compiled": "≥ 1.3×", "minivit graphed": "≥ 1.3×"}
    rows = []
    for name, seconds in result["seconds"].items():
        rate = result["flops"] / median(seconds)
        speed = f"{result['batch'] / median(seconds):,.0f} images/s, {rate / 1e12:.0f} TFLOP/s"
        share = f"{100 * rate / result['matmul']:.0f} % of a large product"
        timm = result["seconds"].get("timm eager")  # not there where it was not installed
        timed = ratio(timm, seconds) if timm else ""
        what = f"{name}: {speed}, {share}"
        rows.append(timed_row(what, seconds, ratio=timed, goal=goals.get(name, "")))
    title = f"Training step on one {_where(result)}: {size}, batch {result['batch']}"
    title += f", torch {result['torch']}" if "torch" in result else ""
    return Section(title=title, rows=rows, notes=STEP_NOTES)


def _epochs(result, size):
    own, rows = result["seconds"]["minivit"], []
    for name, seconds in result["seconds"].items():
        script = {"ratio": ratio(seconds, own), "goal": "≥ 5×"} if seconds is not own else {}
        what = f"{name}: {result['images'] / median(seconds):,.0f} images/s"
        rows.append(timed_row(what, seconds, **script))
    title = f"One epoch of {result['images']:,} images on one {_where(result)}: {size}"
    return Section(title=title, rows=rows, notes=EPOCH_NOTES)


def _attempts(result, size):
    seconds = result["seconds"]
    usual = seconds.get("as it is")  # not there where that failed
    rows = [
        timed_row(f"{name}: {result['batch'] / median(each):,.0f} images/s", each, ratio=speedup)
        for name, each in seconds.items()
        for speedup in [ratio(usual, each) if usual else ""]
    ]
    rows += [Row(what=f"{name}: {why}", median="") for name, why in result["errors"].items()]
    title = f"Ways to make minivit's step faster, {result['way']}, on one {_where(result)}: {size}"
    return Section(title=title, rows=rows, notes=(ATTEMPT_NOTE, AGAIN))


def _together(result, size):
    one = result["1"]
    rows = [
        Row(what=f"{n} side by side", median=f"{rate:,.0f} images/s", ratio=f"{rate / one:.2f}×")
        for n, rate in result.items()
    ]
    title = f"Trainings side by side on one GPU, all together: {size}"
    return Section(title=title, rows=rows, notes=TOGETHER_NOTES)


def _where(result):
    return f"{result['device']}, {result['precision'].removeprefix('torch.')}"


def _quotable(entry):
    """A run that had one device for itself, and is long enough for a median."""
    alone = entry["kind"] == "run" and entry.get("alone") and len(entry["devices"]) == 1
    return alone and len(_epoch_seconds(entry)) > 2


def _epoch_seconds(entry):
    """Seconds of each epoch, from the record, or as far as an unfinished run has come."""
    if "record" in entry:
        return [epoch["seconds"] for epoch in entry["record"]["epochs"]]
    return entry.get("epoch_seconds", [])


def _run_row(entry):
    first, *others = _epoch_seconds(entry)
    arm, done = entry["arm"], len(others) + 1
    device = ", then ".join(entry["devices"])
    what = (
        f"{_size(entry['model'])}, {arm['attention']}, seed {arm['seed']}, {done} epochs, {device}"
    )
    hundred = f"100 × the median: {100 * median(others):.0f} s"
    planned = "" if done >= 100 else " (planned)"
    first = f"the first {first:.1f} s"
    return timed_row(f"{what}; {first}", others, ratio=hundred + planned, goal="≤ 60 s")


SECTIONS = {"steps": _steps, "attempts": _attempts, "epochs": _epochs, "together": _together}
