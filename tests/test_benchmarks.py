"""The benchmarks run, and what they compare is the same work. Nothing here looks at a time."""

import json
import subprocess
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from benchmarks import gpu_results, run, suite
from benchmarks.epochs import PILImages, noise_images, usual_loader, usual_transform
from benchmarks.gpu_plan import EIGHTY_FIVE, NINETY
from benchmarks.gpu_results import mark_sections
from benchmarks.growth import Point, bend, kept_for_backward
from benchmarks.lab import CHROMIUM
from benchmarks.measure import Row, Section, interleaved, ratio
from benchmarks.missing import missing_rows
from benchmarks.peers import MODELS, parameters
from benchmarks.steps import SIZES, training_step, tried
from benchmarks.time_to import CPU
from minivit.compare import Arm
from minivit.data import normalize
from minivit.model import ViT, ViTConfig
from tests.evidence_records import final

CONFIG = ViTConfig(image_size=16, patch_size=4, dim=32, depth=2, heads=4)


OWN_TESTS = ("processes", "browser", "grading")


@pytest.mark.integration
@pytest.mark.parametrize("name", [n for n in run.BENCHMARKS if n not in OWN_TESTS])
def test_quick_mode_runs(name, capsys):
    run.main(["--quick", "--only", name, "--repeats", "2"])
    printed = capsys.readouterr().out
    assert "torch 2." in printed and "| what |" in printed and "numbers mean nothing" in printed
    if name == "steps":
        assert "Training step, a tiny model, batch" in printed


@pytest.mark.slow
def test_quick_mode_runs_fresh_processes(capsys, monkeypatch):
    monkeypatch.delenv("MINIVIT_DATA", raising=False)
    run.main(["--quick", "--only", "processes", "--repeats", "1"])
    printed = capsys.readouterr().out
    assert "import minivit" in printed and "not measured here" in printed and "GiB" in printed


@pytest.mark.slow
def test_quick_mode_grades_where_there_is_a_sandbox(capsys):
    run.main(["--quick", "--only", "grading", "--repeats", "1"])
    assert "4 submissions of" in capsys.readouterr().out


@pytest.mark.browser
@pytest.mark.integration
def test_quick_mode_runs_a_browser_where_there_is_one(capsys):
    run.main(["--quick", "--only", "browser", "--repeats", "1"])
    printed = capsys.readouterr().out
    assert ("n = 3" in printed) == bool(CHROMIUM), printed
    assert CHROMIUM or "not measured here" in printed


def test_the_parts_of_make_test_are_read_from_its_output():
    said = (
        "== 2 of 4\n1754 passed, 6 skipped in 58.31s\n"
        "== 3\n321 passed, 2 warnings in 428.31s (0:07:08)\n== 4\n378 passed in 142.00s\n"
    )
    done = subprocess.CompletedProcess("make test", 0, said)
    found = [(row.what.rpartition(": ")[2], row.median) for row in suite.rows(done, 600.4)]
    assert found[:2] == [("1754 passed, 6 skipped", "58 s"), ("321 passed, 2 warnings", "428 s")]
    assert found[2:] == [("378 passed", "142 s"), ("all of it, style included", "600 s")]
    cells = (
        "30.00s call     tests/test_model.py::test_a\n1.50s setup    lessons/00_a.ipynb::Cell 0\n"
        "2.50s call     lessons/01_b.ipynb::Cell 3\n2.00s call     lessons/00_a.ipynb::Cell 4\n"
    )
    *_, slowest, _ = suite.rows(subprocess.CompletedProcess("make test", 0, said + cells), 1.0)
    assert "slowest of 2 lessons, 00_a" in slowest.what and slowest.median == "4 s"
    with pytest.raises(RuntimeError, match="1 failed"):
        suite.rows(subprocess.CompletedProcess("make test", 2, "1 failed, 3 passed in 2s"), 9.0)
    broken = "FAILED tests/test_a.py::test_b - oh\n" + "0.01s setup    test_c\n" * 300
    with pytest.raises(RuntimeError, match=r"nothing:\nFAILED tests/test_a.py::test_b - oh$"):
        suite.rows(subprocess.CompletedProcess("make test", 2, broken), 9.0)


def made_up(monkeypatch, tmp_path, **sections):
    """A benchmark of these sections, and a results file of its own; title → seconds or an error."""

    def section(title, seconds):
        if isinstance(seconds, Exception):
            raise seconds
        return [Section(title=title, rows=[Row(what=title, median=seconds)])]

    kept = {name: run.BENCHMARKS[name] for name in run.FROM_RECORDS}
    made = {title: lambda t=title, s=s, **_: section(t, s) for title, s in sections.items()}
    monkeypatch.setattr(run, "BENCHMARKS", made | kept)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "RESULTS.md")


def test_quick_numbers_are_not_written():
    with pytest.raises(SystemExit, match="leave out --quick"):
        run.main(["--write", "--quick"])


def test_what_comes_from_records_is_not_measured():
    with pytest.raises(SystemExit, match="gpu: from records, so --records renews it"):
        run.main(["--write", "--only", "gpu"])


def test_one_table_is_measured_anew_and_the_others_stay(tmp_path, monkeypatch):
    made_up(monkeypatch, tmp_path, one="1 s", two="2 s", three="3 s")
    run.main(["--write"])
    before = run.RESULTS.read_text()
    made_up(monkeypatch, tmp_path, one="4 s", two="5 s", three="6 s")
    run.main(["--write", "--only", "two"])
    after = run.RESULTS.read_text()
    assert "| one | 1 s |" in after and "| two | 5 s |" in after and "| three | 3 s |" in after
    assert after.count("Measured by itself on") == 1 and after.count("## ") == before.count("## ")
    run.main(["--write", "--only", "three"])  # the last before those from records
    assert "| three | 6 s |" in run.RESULTS.read_text()
    assert run.RESULTS.read_text().count("## What is missing") == 1
    made_up(monkeypatch, tmp_path, four="7 s")
    run.main(["--write", "--only", "four"])
    text = run.RESULTS.read_text()
    assert text.index("| three |") < text.index("| four | 7 s |") < text.index(run.FROM_HERE)
    run.RESULTS.write_text("# Measured\n")
    with pytest.raises(SystemExit, match="write it whole"):
        run.main(["--write", "--only", "four"])


def test_one_that_fails_loses_nothing(tmp_path, monkeypatch):
    made_up(monkeypatch, tmp_path, one="1 s", two=RuntimeError("no browser"), three="3 s")
    run.main(["--write"])
    text = run.RESULTS.read_text()
    assert "| one | 1 s |" in text and "| three | 3 s |" in text and "## What is missing" in text
    assert "| two | not measured: RuntimeError: no browser |" in text
    made_up(monkeypatch, tmp_path, two="2 s")
    run.main(["--write", "--only", "two"])
    text = run.RESULTS.read_text()
    assert "| two | 2 s |" in text and "Not measured: two" not in text and "| three | 3 s |" in text
    made_up(monkeypatch, tmp_path, one="4 s", two=KeyboardInterrupt())
    monkeypatch.setitem(run.BENCHMARKS, "two", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.main(["--write"])
    text = run.RESULTS.read_text()
    assert "| one | 4 s |" in text and "## What is missing" in text, "a whole file at any time"


def interrupted(**_):
    raise KeyboardInterrupt


def test_no_browser_leaves_the_picture_as_it_was(tmp_path, monkeypatch):
    class Figure:
        def write_image(self, *_, **__):
            raise RuntimeError("Kaleido requires Google Chrome")

    made_up(monkeypatch, tmp_path)
    drawn = Section(title="drawn", rows=[Row(what="a", median="1 s")], picture=("a.png", Figure()))
    monkeypatch.setitem(run.BENCHMARKS, "drawn", lambda **_: [drawn])
    run.main(["--write"])
    assert "![drawn](a.png)" in run.RESULTS.read_text()


def test_records_are_renewed_and_what_was_measured_stays(tmp_path, monkeypatch):
    results = tmp_path / "RESULTS.md"
    monkeypatch.setattr(run, "RESULTS", results)
    results.write_text("# Measured\n\n## Steps\n")
    with pytest.raises(SystemExit, match="no heading '# From records'"):
        run.main(["--records"])
    assert results.read_text() == "# Measured\n\n## Steps\n"
    results.write_text(f"# Measured\n\n## Steps\n\n{run.FROM_HERE}\n## Of yesterday\n")
    run.main(["--records"])
    once = results.read_text()
    assert once.startswith(f"# Measured\n\n## Steps\n\n{run.FROM_HERE}\n## Time to 65 %")
    assert "yesterday" not in once and once.count("## What is missing") == 1
    run.main(["--records"])
    assert results.read_text() == once


def test_a_whole_run_and_renewed_records_are_one_text(tmp_path, monkeypatch):
    made_up(monkeypatch, tmp_path, steps="1 s")
    run.main(["--write"])
    whole = run.RESULTS.read_text()
    run.main(["--records"])
    assert "| steps | 1 s |" in whole and run.RESULTS.read_text() == whole


def gpu_steps(device, *libraries):
    result = {"device": device, "seconds": {f"{library} eager": [1.0] for library in libraries}}
    return {"kind": "steps", "result": result}


def test_what_is_measured_is_not_missing():
    def missing(entries, runs=()):
        return {row.what: row.median for row in missing_rows(entries, runs)}

    nothing = missing([])
    assert nothing["Time to 65 % on a CPU"] == "0 of 10 final runs"
    assert nothing["Time to 90 % on a GPU"] == "0 of 10 final runs"
    assert {f"Training step on a GPU, {library}" for library in MODELS} <= nothing.keys()
    some = missing([gpu_steps("NVIDIA H200", "minivit", "timm")])
    assert nothing.keys() - some.keys() == {
        f"Training step on a GPU, {library}" for library in ("minivit", "timm")
    }
    t4 = missing([gpu_steps("Tesla T4", "minivit", "timm")])
    assert some.keys() - t4.keys() == {"Training step on a T4, float16"}


@pytest.mark.parametrize("mark, where", [(CPU, "a CPU"), (EIGHTY_FIVE, "a GPU"), (NINETY, "a GPU")])
def test_a_mark_is_missing_until_its_last_seed(mark, where):
    first, seeds = mark.candidates[0], mark.seeds
    tried = [replace(record(first), role="tuning", final_accuracy=None)]
    for runs, there in ((seeds[:-1], False), (seeds, True)):
        found = tried + [replace(record(first), seed=seed) for seed in runs]
        entries = [{"kind": "run", "record": asdict(each)} for each in found]
        rows = {row.what: row.median for row in missing_rows(entries, found)}
        assert (f"Time to {100 * mark.accuracy:.0f} % on {where}" not in rows) == there
        titles = [section.title for section in mark_sections(entries)]
        named = f"Time to {100 * mark.accuracy:.0f} % on a GPU"
        assert titles == ([] if mark is CPU else [named])
    if mark is not CPU:
        entries[-1]["rounded"] = [7]
        (section,) = mark_sections(entries)
        assert f"another machine: 1 of {1 + len(seeds)} runs." in section.notes[-1]


def test_a_measurement_that_failed_is_no_table(tmp_path, monkeypatch):
    size = {"dim": 192, "depth": 12, "patch_size": 4}
    failed = {"key": "a", "kind": "steps", "model": size, "state": "failed", "error": "no memory"}
    (tmp_path / "results.jsonl").write_text(json.dumps(failed) + "\n")
    monkeypatch.setattr(gpu_results, "KEPT", tmp_path)
    assert list(gpu_results.gpu_sections()) == []


@pytest.mark.parametrize("done", [5, 100])
def test_seconds_of_a_whole_run_come_from_its_record(tmp_path, monkeypatch, done):
    entry = {"key": "a", "kind": "run", "alone": True, "arm": {"attention": "plain"}}
    entry["arm"]["seed"] = 3
    entry["devices"] = ["a GPU"]
    entry["model"] = {"dim": 192, "depth": 12, "patch_size": 4}
    seconds = [9.0] + [2.0] * (done - 1)
    if done == 100:  # what an earlier call said of it, before it was finished, no longer counts
        (epoch, *_) = record("epochs=100").epochs
        epochs = [epoch | {"epoch": n, "seconds": s} for n, s in enumerate(seconds, start=1)]
        whole = replace(record("epochs=100"), epochs=epochs)
        entry |= {"epoch_seconds": [7.0] * 3, "record": asdict(whole)}
    else:
        entry |= {"epoch_seconds": seconds}
    (tmp_path / "results.jsonl").write_text(json.dumps(entry) + "\n")
    monkeypatch.setattr(gpu_results, "KEPT", tmp_path)
    (section,) = gpu_results.gpu_sections()
    (row,) = section.rows
    assert (
        f"{done} epochs" in row.what
        and "seed 3" in row.what
        and "the first 9.0 s" in row.what
        and row.median == "2.00 s"
    )
    assert ("planned" in row.ratio) == (done == 5) and "200 s" in row.ratio


def record(variant):
    arm = Arm(base="torch_default", attention="mimetic", variant=variant)
    return final(lambda _: 0.95, [arm])[0]


@pytest.mark.parametrize("config", [CONFIG, *SIZES.values()])
def test_models_have_the_size_that_is_claimed(config):
    sizes = {name: parameters(build(config)) for name, build in MODELS.items()}
    d, patch = config.dim, config.channels * config.patch_size**2
    assert sizes["timm"] == sizes["minivit"]
    # A class token, and its position.
    assert sizes["torchvision"] == sizes["minivit"] + 2 * d
    # Two more LayerNorms, and no bias in qkv.
    assert sizes["vit-pytorch"] == sizes["minivit"] + 2 * patch + 2 * d - 3 * d * config.depth


def test_a_step_of_timm_is_a_step_of_minivit():
    models = {name: MODELS[name](CONFIG).double() for name in ("minivit", "timm")}
    models["timm"].load_state_dict(models["minivit"].state_dict())
    before = {name: p.clone() for name, p in models["minivit"].named_parameters()}
    images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8)
    for model in models.values():
        training_step(model, images, labels)()
    logits = [model(images) for model in models.values()]
    assert torch.allclose(*logits, atol=1e-6)
    moved = [not torch.equal(p, before[n]) for n, p in models["minivit"].named_parameters()]
    assert all(moved)


def test_a_fused_step_is_the_same_step():
    torch.manual_seed(0)
    models = [ViT(CONFIG).double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8)
    for model, fused in zip(models, (True, False), strict=True):
        training_step(model, images, labels, fused=fused)()
    assert torch.allclose(models[0](images), models[1](images), atol=1e-6)


def test_whatever_was_tried_is_the_same_step():
    models = tried(CONFIG, compiled=False)
    ours = ViT(CONFIG).double()
    images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8)
    for model in models.values():
        model.double().load_state_dict(ours.state_dict())
        training_step(model, images, labels)()
    training_step(ours, images, labels)()
    assert "minivit, softmax written out" in models
    for name, model in models.items():
        assert torch.allclose(model(images), ours(images), atol=1e-6), name


def test_the_usual_script_sees_the_same_images():
    image_set = noise_images(6)
    transform = usual_transform(image_set)
    plain = PILImages(
        image_set, lambda image: transform.transforms[3](transform.transforms[2](image))
    )
    theirs = torch.stack([plain[i][0] for i in range(6)])
    ours = normalize(image_set.images, image_set.mean, image_set.std)
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert [plain[i][1] for i in range(6)] == image_set.labels.tolist()


def test_the_usual_script_takes_as_many_steps():
    batches = list(usual_loader(noise_images(20), 8, 0))
    assert [len(images) for images, _ in batches] == [8, 8]


def test_repeats_alternate_and_the_first_round_is_not_counted():
    order = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "abababab" and [len(s) for s in seconds.values()] == [3, 3]


def test_ratios_are_taken_within_a_round():
    # One slow round for both changes no ratio; the ratio of sums would be another.
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == "2.00× (2.00-2.00)"
    assert ratio([1.0, 10.0, 2.0], [1.0, 10.0, 1.0]).startswith("1.00×")


def test_losses_agree_at_the_start():
    model, theirs = ViT(CONFIG), MODELS["timm"](CONFIG)
    theirs.load_state_dict(model.state_dict())
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    losses = [F.cross_entropy(m(images), labels) for m in (model, theirs)]
    assert torch.allclose(*losses, atol=1e-5)


def test_what_is_kept_for_the_backward_pass_grows_with_images_and_layers_alone():
    def kept(depth, batch):
        return kept_for_backward(Point("", 0, replace(CONFIG, depth=depth), batch)) * batch

    layer = kept(3, 4) - kept(2, 4)
    assert layer == kept(2, 4) - kept(1, 4) > 0
    assert kept(3, 8) - kept(2, 8) == 2 * layer
    # At least what a layer must keep: the inputs of its four products, of GELU and of two norms.
    numbers = CONFIG.tokens * (CONFIG.dim * (1 + 1 + 3 + 1 + 1 + 1) + 2 * CONFIG.hidden)
    assert layer >= 4 * 4 * numbers


def test_a_bend_is_told_by_powers_and_by_its_place():
    values, operations = (1, 2, 4, 8), [1.0, 2.0, 8.0, 32.0]
    said = bend("width", values, [5.0, 5.0, 20.0, 80.0], operations)
    assert said.startswith(
        "A step's time grows as width to the power 0.00 between 1 and 2, 2.00 between 4 and 8; "
        "its operations as 1.00 and 2.00. From 2 on they grow alike"
    )
    assert "Nowhere alike" in bend("width", values, [5.0, 5.0, 5.0, 9.0], operations)
    assert "From 1 on" in bend("width", values, operations, operations)
    # Alike, then not, then alike: only the end counts.
    assert "From 4 on" in bend("width", values, [1.0, 2.0, 2.0, 8.0], operations)
