"""What the GPU queue keeps in its folder: one line a job, and the unfinished runs in a few files.

The folder is all that has to come back from a machine, and all that the next one needs.
"""

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.peers import MODELS
from minivit.compare import checkpoint_path
from minivit.records import describe_machine, package_digest
from minivit.runtime import pick_device
from minivit.storage import atomic_path, read_tensors, write_tensors, write_text

FILE_BYTES = 15_000_000  # at most
# Of unfinished runs. On the way to a machine they share a limit with the images and the code.
STATE_BYTES = 33_000_000
TRIES = 2


class Results:
    """The file results.jsonl of a folder: an entry for each job, whole whenever it is read.

    processes: runs side by side. A measurement has an entry for each device, a run one, which names
    all devices that it was on.
    """

    def __init__(self, folder, task=None, processes=1):
        self.file, self.task, self.entries = Path(folder) / "results.jsonl", task, {}
        self.processes, self.device = processes, describe_machine(pick_device())
        try:
            text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
            self.entries = {e["key"]: e for e in map(json.loads, text.splitlines())}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.file}: not the results of a GPU queue ({error})") from error

    def of(self, job):
        return self.entries.get(self.key(job), {})

    def put(self, job, **changes):
        """Changes a job's entry and writes the file."""
        named = {"key": self.key(job), "kind": job.kind, "arm": vars(job.arm), "role": job.role}
        code = {"model": asdict(self.recipe(job.arm).model), "source": package_digest()}
        devices = list(dict.fromkeys([*self.of(job).get("devices", ()), self.device]))
        if "record" in changes:
            changes["record"] = changes["record"] | {"device": ", then ".join(devices)}
        now = code | {"devices": devices} | changes
        self.entries[named["key"]] = named | self.of(job) | now
        lines = (json.dumps(entry, allow_nan=False) for entry in self.entries.values())
        write_text(self.file, "".join(f"{line}\n" for line in lines))

    def settled(self, job):
        """There is nothing more to be done: it is there, or this code has failed too often."""
        entry = self.of(job)
        failed = entry.get("failures", 0) >= TRIES and entry["source"] == package_digest()
        return (entry.get("state") == "done" and not _lacks_a_peer(entry)) or failed

    def same_model(self, job):
        """The entries of jobs that train or measure a network of this job's shape, here alone."""
        wanted = asdict(self.recipe(job.arm).model), [self.device]
        return [e for e in self.entries.values() if (e["model"], e["devices"]) == wanted]

    def paces(self, job, alone=None):
        """[seconds before the first epoch, seconds of an epoch] of runs of this job's shape.

        alone: of those that had the device for themselves, or of the others; None for all.
        """
        entries = [entry for entry in self.same_model(job) if "pace" in entry]
        return [e["pace"] for e in entries if alone is None or e["alone"] == alone]

    def recipe(self, arm):
        return arm.recipe(self.task.recipe)

    def checkpoint(self, job):
        return checkpoint_path(job.arm, self.task, job.role)

    def key(self, job):
        where = "" if job.kind == "run" else f" on {self.device}"
        return f"{job.kind}-{self.checkpoint(job).stem}{where}"


def _lacks_a_peer(entry):
    """Whether a step was measured where a peer was not installed that is installed here."""
    if entry["kind"] != "steps" or "seconds" not in entry["result"]:
        return False
    there = {name.partition(" ")[0] for name in entry["result"]["seconds"]}
    return any(find_spec(peer.replace("-", "_")) for peer in MODELS.keys() - there)


def epochs_done(path):
    """Epochs in a checkpoint; 0 where there is none or it is damaged, and then it is removed."""
    try:
        return len(read_tensors(path)[1]["epochs"]) if path.exists() else 0
    except ValueError as error:
        print(f"starts again: {error}", flush=True)
        path.unlink()
        return 0


def pack(paths, folder, work, limit=STATE_BYTES):
    """Writes checkpoints that lie in `work` into `folder`: as many of the first as `limit` holds.

    One that does not fit exactly is rounded: weights to float16, AdamW's moments to bfloat16, half
    the bytes. Returns [(path, "exact", "rounded" or "left out")].
    """
    tensors, notes, fates = {}, {}, []
    for path in paths:
        whole, metadata = read_tensors(path)
        place = path.relative_to(work).as_posix()
        for fate, kept in (("exact", whole), ("rounded", _rounded(whole))):
            size = sum(tensor.nbytes for tensor in kept.values())
            if size <= limit:
                limit -= size
                tensors |= {f"{place}/{name}": tensor for name, tensor in kept.items()}
                notes[place] = {"rounded": fate == "rounded", "metadata": metadata}
                break
        else:
            fate = "left out"
        fates.append((path, fate))
    _write_parts(Path(folder), Path(work) / "unfinished.part", tensors, notes)
    return fates


def _rounded(tensors):
    # A step is a whole number up to thousands, which 16 bits would not hold: it stays.
    types = {"model": torch.float16, "exp_avg": torch.bfloat16, "exp_avg_sq": torch.bfloat16}
    return {name: t.to(types.get(name.partition("/")[0], t.dtype)) for name, t in tensors.items()}


def _write_parts(folder, whole, tensors, notes):
    parts = []
    if notes:
        write_tensors(whole, tensors, notes)
        data = whole.read_bytes()
        whole.unlink()
        parts = [data[i : i + FILE_BYTES] for i in range(0, len(data), FILE_BYTES)]
    for number, part in enumerate(parts):
        with atomic_path(folder / f"unfinished-{number}.bin") as temporary:
            temporary.write_bytes(part)
    for old in sorted(folder.glob("unfinished-*.bin"))[len(parts) :]:
        old.unlink()


def unpack(folder, work):
    """Writes the packed runs to their places in `work`, but for those that are as far there.

    Returns {place: was it rounded} of what it wrote. Parts that are damaged, or do not belong
    together because a kill came between them, are told and count as none.
    """
    parts = sorted(Path(folder).glob("unfinished-*.bin"))
    if not parts:
        return {}
    whole = Path(work) / "unfinished.part"
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    try:
        tensors, notes = read_tensors(whole)
    except ValueError as error:
        print(f"unfinished runs start again: {error}", flush=True)
        return {}
    finally:
        whole.unlink()
    written = {}
    for place, note in notes.items():
        path, own = Path(work) / place, f"{place}/"
        if epochs_done(path) < len(note["metadata"]["epochs"]):
            mine = {n.removeprefix(own): t for n, t in tensors.items() if n.startswith(own)}
            mine = {n: t.float() if t.itemsize == 2 else t for n, t in mine.items()}
            write_tensors(path, mine, note["metadata"])
            written[place] = note["rounded"]
    return written
