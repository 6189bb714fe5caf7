"""`python -m benchmarks.run`: measures, prints Markdown tables, with --write keeps RESULTS.md.

Its last tables come from records: with --records only those are made anew, and the others stay.
With --write --only NAME one table is measured anew, and says so; the others stay.
"""

import argparse
import re
import traceback
from dataclasses import replace
from datetime import date
from pathlib import Path

from benchmarks.browser import browser_sections
from benchmarks.checks import check_sections
from benchmarks.epochs import epoch_sections
from benchmarks.gpu_results import gpu_sections
from benchmarks.grading import grading_sections
from benchmarks.growth import growth_sections
from benchmarks.initializers import initializer_sections
from benchmarks.measure import Row, Section, machine
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
    "checks": check_sections,
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
    if options.write and options.quick:
        raise SystemExit("--write keeps measurements: leave out --quick")
    kept = [name for name in options.only or () if name in FROM_RECORDS]
    if options.write and kept:
        raise SystemExit(f"{', '.join(kept)}: from records, so --records renews it, not --only")
    if options.repeats < 1:
        raise SystemExit(f"--repeats is {options.repeats}; it must be at least 1")
    if options.records:
        write_text(RESULTS, _measured(RESULTS) + "\n".join(_from_records()))
    elif options.write and options.only:
        for name in options.only:
            for section in _sections([name], options, note=_by_itself()):
                _replace(section, name)
    else:
        _measure(options)


def _measure(options):
    """Prints all sections, or those asked for; with --write each is kept as soon as it is there."""
    parts = [_heading(options)]
    records = list(_from_records()) if options.write else []
    print(parts[0], flush=True)
    for section in _sections(options.only or BENCHMARKS, options):
        parts.append(_markdown(section))
        print(parts[-1], flush=True)
        if options.write:
            _keep_picture(section)
            write_text(RESULTS, "\n".join([*parts, *records]))


def _sections(names, options, note=None):
    """Yields the sections of these benchmarks; of one that fails, a section that says so.

    With --write those from records are left out: they are made apart.
    """
    for name in names:
        if options.write and name in FROM_RECORDS:
            continue
        try:
            for section in BENCHMARKS[name](quick=options.quick, repeats=options.repeats):
                yield replace(section, notes=(*section.notes, note)) if note else section
        except Exception as error:  # what the others measured is not lost by it
            if options.only:
                raise
            traceback.print_exc()
            row = Row(what=name, median=f"not measured: {type(error).__name__}: {error}"[:200])
            yield Section(title=f"Not measured: {name}", rows=[row])


def _keep_picture(section):
    if section.picture:
        name, figure = section.picture
        try:
            figure.write_image(RESULTS.with_name(name), width=1000, height=680, scale=2)
        except (RuntimeError, ValueError, OSError) as error:  # kaleido needs Chromium or Chrome
            print(f"{name} stays as it was: {error}", flush=True)


def _replace(section, name):
    """Puts a section in the place of that of the same title; a new one behind the measured ones.

    "Not measured: name" is gone then.
    """
    measured = _measured(RESULTS)
    records = RESULTS.read_text(encoding="utf-8").removeprefix(measured)
    text, (heading, *sections) = f"{_markdown(section)}\n", re.split("(?m)^(?=## )", measured)
    sections = [old for old in sections if not old.startswith(f"## Not measured: {name}\n")]
    same = [old.startswith(f"## {section.title}\n") for old in sections]
    at = same.index(True) if any(same) else len(sections)
    sections[at : at + 1] = [text]
    _keep_picture(section)
    write_text(RESULTS, "".join([heading, *sections, records]))
    print(text, flush=True)


def _by_itself():
    return f"Measured by itself on {date.today()}, later than the rest. {machine()}."


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
