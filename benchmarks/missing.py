"""What RESULTS.md does not hold: measurements that this project wants and has not made yet."""

from benchmarks.gpu_plan import MARKS
from benchmarks.gpu_results import KEPT, records
from benchmarks.gpu_state import Results
from benchmarks.measure import Row, Section
from benchmarks.peers import MODELS
from benchmarks.time_to import CPU, final_runs
from benchmarks.time_to import records as time_to_records

NOTE = (
    "A row leaves this list when its entry is among the records. Several GPUs are no job of the "
    "queue yet."
)


def missing_sections(**_):
    """One Section, from what the repository keeps; `median` says how much of it is there."""
    rows = list(missing_rows(list(Results(KEPT).entries.values()), time_to_records()))
    return [Section(title="What is missing", rows=rows, notes=(NOTE,))]


def missing_rows(entries, runs):
    """Yields a Row for each measurement that is not there.

    entries: those of a GPU queue's results.jsonl. runs: Records of `benchmarks.time_to`.
    """
    yield from _final_runs("a CPU", runs, CPU)
    for mark in MARKS:
        yield from _final_runs("a GPU", records(entries), mark)
    steps = [entry["result"] for entry in entries if entry["kind"] == "steps" and "result" in entry]
    timed = {name.rpartition(" ")[0] for result in steps for name in result["seconds"]}
    for library in sorted(MODELS.keys() - timed):
        yield Row(what=f"Training step on a GPU, {library}", median="not measured")
    if not any("T4" in result["device"] for result in steps):
        yield Row(what="Training step on a T4, float16", median="not measured: minutes are planned")
    yield Row(what="Training on several GPUs, over nccl", median="never run")


def _final_runs(where, found, mark):
    done, wanted = len(final_runs(found, mark)), len(mark.seeds)
    if done < wanted:
        what = f"Time to {100 * mark.accuracy:.0f} % on {where}"
        yield Row(what=what, median=f"{done} of {wanted} final runs", goal=f"n ≥ {wanted}")
