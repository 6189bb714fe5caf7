"""`python -m benchmarks.run`: measures, prints Markdown tables, with --write keeps RESULTS.md.

Its last tables come from records. With --records only those are made anew, and the others stay.
"""

import argparse
from datetime import date
from pathlib import Path

from benchmarks.browser import browser_sections
from benchmarks.epochs import epoch_sections
from benchmarks.gpu_results import gpu_sections
from benchmarks.grading import grading_sections
from benchmarks.growth import growth_sections
from benchmarks.initializers import initializer_sections
from benchmarks.measure import machine
from benchmarks.missing import missing_sections
from benchmarks.processes import process_sections
from benchmarks.steps import step_sections
from benchmarks.suite import suite_sections
from benchmarks.time_to import time_to_sections
from minivit.storage import write_text

RESULTS = Path(__file__).parent / "RESULTS.md"
BENCHMARKS = {
    "steps": step_sections,
    "epochs": epoch_sections,
    "growth": growth_sections,
    "initializers": initializer_sections,
    "processes": process_sections,
    "browser": browser_sections,
    "grading": grading_sections,
    "suite": suite_sections,
    "time to": time_to_sections,
    "gpu": gpu_sections,
    "missing": missing_sections,
}
FROM_RECORDS = ("time to", "gpu", "missing")  # the last ones
FROM_HERE = "# From records\n\nNot measured in this run: each record names its own machine.\n"


def main(arguments=None):
    options = _parser().parse_args(arguments)
    if options.write and (options.quick or options.only):
        raise SystemExit("--write keeps whole results only: leave out --quick and --only")
    if options.repeats < 1:
        raise SystemExit(f"--repeats is {options.repeats}; it must be at least 1")
    if options.records:
        write_text(RESULTS, _measured(RESULTS) + "\n".join(_from_records()))
        return
    parts = [_heading(options)]
    print(parts[0], flush=True)
    for name in options.only or BENCHMARKS:
        if name == FROM_RECORDS[0]:
            parts.append(FROM_HERE)
        for section in BENCHMARKS[name](quick=options.quick, repeats=options.repeats):
            parts.append(_markdown(section))
            print(parts[-1], flush=True)
            if options.write and section.picture:
                name, figure = section.picture
                figure.write_image(RESULTS.with_name(name), width=1000, height=520, scale=2)
            if options.write:  # what a later section breaks off is kept
                write_text(RESULTS, "\n".join(parts))


def _measured(path):
    """The text of a results file before what comes from records."""
    text, mark, _ = path.read_text(encoding="utf-8").partition(FROM_HERE)
    if not mark:
        raise SystemExit(f"{path} has no heading {FROM_HERE.splitlines()[0]!r}: write it whole")
    return text


def _from_records():
    yield FROM_HERE
    for name in FROM_RECORDS:
        yield from map(_markdown, BENCHMARKS[name](quick=False, repeats=1))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run? no numbers")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count (default 7)")
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/{RESULTS.name}")
    parser.add_argument("--records", action="store_true", help="only renew what is from records")
    return parser


def _heading(options):
    kind = "Quick mode: sizes are tiny, numbers mean nothing.\n\n" if options.quick else ""
    return (
        f"# Measured on {date.today()}\n\n{kind}{machine()}.\n\n"
        f"Medians of {options.repeats} interleaved repeats with their quartiles; ratios are taken "
        "within each round.\n"
    )


def _markdown(section):
    lines = [f"## {section.title}\n", "| what | median | quartiles | ratio | goal |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in section.rows:
        cells = (row.what, row.median, row.spread, row.ratio, row.goal)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {note}" for note in section.notes]
    if section.picture:
        notes += ["", f"![{section.title}]({section.picture[0]})"]
    return "\n".join([*lines, "", *notes]) + "\n"


if __name__ == "__main__":
    main()
