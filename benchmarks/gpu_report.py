"""`python -m benchmarks.gpu_report DIR`: what a GPU queue's folder says, its records as files."""

import argparse
from dataclasses import replace
from statistics import median

from benchmarks.gpu_state import Results
from benchmarks.measure import ratio
from minivit.records import Record, current_commit, package_digest, write_record


def report(results):
    """Lines of text on everything in the folder."""
    lines = []
    for key, entry in results.entries.items():
        if "record" in entry:
            record, rounded = Record(**entry["record"]), entry.get("rounded")
            last, test = record.epochs[-1]["validation_accuracy"], record.final_accuracy
            seconds = sum(epoch["seconds"] for epoch in record.epochs)
            lines.append(
                f"{key}: {100 * last:.2f} % on validation images, "
                + ("" if test is None else f"{100 * test:.2f} % on test images, ")
                + f"{seconds:.1f} s of training {'alone' if entry['alone'] else 'beside others'} "
                f"on {record.device}"
                + (f", rounded at epoch {rounded} on its way" if rounded else "")
            )
        elif entry["state"] == "done":
            lines += _step_lines(key, entry["result"]) if entry["kind"] == "steps" else []
            lines += _epoch_lines(key, entry["result"]) if entry["kind"] == "epochs" else []
            lines += _attempt_lines(key, entry["result"]) if entry["kind"] == "attempts" else []
            rates = entry["result"].items() if entry["kind"] == "together" else ()
            lines += [f"{key}: {n} side by side, {rate:,.0f} images/s" for n, rate in rates]
        else:
            why = entry.get("error") or f"{entry['epochs']} epochs are there"
            if "last" in entry and entry["epochs"]:
                why += f", {100 * entry['last']['validation_accuracy']:.2f} % on validation images"
            lines.append(f"{key}: {entry['state']}, {why}")
    return lines


def _step_lines(key, result):
    """Ratio: its time / timm's eager, within each round; none where timm was not installed."""
    timm = result["seconds"].get("timm eager")
    lines = [f"{key}: {result['device']}, {result['precision']}, batch {result['batch']}"]
    for name, seconds in result["seconds"].items():
        step = median(seconds)
        rate, share = result["flops"] / step, result["flops"] / step / result["matmul"]
        lines.append(
            f"  {name:<18}{1000 * step:8.2f} ms {result['batch'] / step:10,.0f} images/s "
            f"{rate / 1e12:7.1f} TFLOP/s, {100 * share:.0f} % of a large product"
            + (f"; timm eager / it {ratio(timm, seconds)}" if timm else "")
        )
    return lines


def _epoch_lines(key, result):
    """Ratio: its time / minivit's, within each round."""
    lines = [f"{key}: {result['device']}, {result['precision']}, batch {result['batch']}"]
    for name, seconds in result["seconds"].items():
        lines.append(
            f"  {name:<30}{median(seconds):8.2f} s {result['images'] / median(seconds):10,.0f} "
            f"images/s; it / minivit {ratio(seconds, result['seconds']['minivit'])}"
        )
    return lines


def _attempt_lines(key, result):
    """Ratio: the first row's time / its time."""
    lines = [f"{key}: {result['device']}, {result['way']}, batch {result['batch']}"]
    usual = result["seconds"].get("as it is")  # not there where that failed
    for name, seconds in result["seconds"].items():
        faster = f"; as it is / it {ratio(usual, seconds)}" if usual else ""
        lines.append(f"  {name:<36}{1000 * median(seconds):8.2f} ms{faster}")
    return lines + [f"  {name:<36}{why}" for name, why in result["errors"].items()]


def records(results):
    """The Records of finished runs; where this checkout has the code that ran, with its commit.

    That is a commit with the same code, and may be a later one than the run's own.
    """
    commit, dirty = current_commit()
    for entry in results.entries.values():
        if "record" in entry:
            record = Record(**entry["record"])
            # Another machine has no git, or one of its own: the digest says which code ran.
            known = entry["source"] == package_digest()
            yield replace(record, commit=commit, dirty=dirty) if known else record


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_report", description=__doc__)
    parser.add_argument("folder", help="what a GPU queue was given as --out")
    parser.add_argument("--records", metavar="FOLDER", help="write its records there, a file each")
    options = parser.parse_args(arguments)
    results = Results(options.folder)
    print(*report(results), sep="\n")
    if options.records:
        for record in records(results):
            print(write_record(record, options.records))


if __name__ == "__main__":
    main()
