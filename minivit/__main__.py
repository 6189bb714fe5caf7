"""The command line: `python -m minivit compare`, `train-folder`, `inspect CHECKPOINT`, `doctor`."""

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

FOLDER_MODELS = {"vit_tiny": "VIT_TINY", "vit_small": "VIT_SMALL", "vit_base": "VIT_BASE"}


def main(words=None):
    """Runs one command; returns the exit status. What is wrong is said in a sentence."""
    options = _parser().parse_args(words)
    if hasattr(sys.stdout, "reconfigure"):  # redirected on Windows it may have no ᵀ and no √
        sys.stdout.reconfigure(errors="replace")
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"minivit: {error}", file=sys.stderr)
        _ends_badly()
        return 1
    except KeyboardInterrupt as interrupt:
        _ends_badly()
        notes = getattr(interrupt, "__notes__", None) or ["stopped"]
        print("\n" + "\n".join(notes), file=sys.stderr)
        return 130


def _ends_badly():
    from minivit.ranks import ends_badly

    ends_badly()


def _parser():
    from minivit.init import ATTENTION, BASES

    parser = argparse.ArgumentParser(
        prog="minivit", description="Vision Transformers, mimetic init."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    compare = commands.add_parser("compare", help="train the arms of a comparison side by side")
    compare.set_defaults(run=_compare)
    arms = f"of {', '.join(ATTENTION)} (default: the first four)"
    compare.add_argument("--arms", nargs="+", metavar="ARM", help=arms)
    bases = f"of {', '.join(BASES)} (default: the first)"
    compare.add_argument("--bases", nargs="+", metavar="BASE", help=bases)
    compare.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    compare.add_argument("--variant", default="", help='what else differs, as in "heads=4"')
    compare.add_argument("--learning-rate", type=float, help="(default: the recipe's)")
    compare.add_argument("--role", default="live", help="live, tuning or final: see PROTOCOL.md")
    compare.add_argument("--scale", help="smoke, laptop, colab or full (default: by device)")
    compare.add_argument("--data", help="an archive or folder of images (default: $MINIVIT_DATA)")
    compare.add_argument("--source", default="auto", help="torchvision, folder, synthetic or auto")
    compare.add_argument("--out", default="runs", help="folder for records and the page of curves")
    compare.add_argument("--processes", type=int, help="runs at a time (default: 2 on a CPU)")
    folder = commands.add_parser(
        "train-folder", help="train on folders of images, as ImageNet's; alone or under torchrun"
    )
    folder.set_defaults(run=_train_folder)
    folder.add_argument("train", help="a folder that holds a folder of images for each class")
    folder.add_argument("validation", help="the same, other images")
    folder.add_argument("--model", default="vit_small", choices=list(FOLDER_MODELS))
    folder.add_argument("--size", type=int, default=224, help="pixels of a side")
    folder.add_argument("--patch", type=int, default=16, help="pixels of a patch's side")
    folder.add_argument("--base", default="torch_default", help="torch_default, vit_trunc_normal")
    folder.add_argument("--attention", default="mimetic", help="plain, mimetic, norm_matched, …")
    folder.add_argument("--epochs", type=int, default=90)
    folder.add_argument("--warmup-epochs", type=float, help="(default: a tenth, at most 8)")
    folder.add_argument("--batch-size", type=int, default=1024, help="of all processes together")
    folder.add_argument("--learning-rate", type=float, default=1e-3)
    folder.add_argument("--weight-decay", type=float, default=0.1)
    folder.add_argument("--mixup", type=float, default=0.2)
    folder.add_argument("--min-area", type=float, default=0.08, help="smallest part in a crop")
    folder.add_argument("--workers", type=int, help="readers of images in each process")
    folder.add_argument("--seed", type=int, default=0)
    folder.add_argument("--out", default="runs/folder", help="for checkpoint, history and weights")
    inspect = commands.add_parser("inspect", help="the diagonal of each head of a checkpoint")
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("checkpoint", help="a file, or a name such as deit_tiny_patch16_224")
    inspect.add_argument("--heads", type=int, help="(default: the file's, or a published size's)")
    doctor = commands.add_parser("doctor", help="check environment, device, data and weights")
    doctor.set_defaults(run=_doctor)
    doctor.add_argument("--data", help="an archive or folder of images (default: $MINIVIT_DATA)")
    return parser


def _compare(options):
    from tqdm import tqdm

    from minivit.compare import DEFAULT_ARMS, Arm, compare, how_many, prepare
    from minivit.data import cifar10
    from minivit.outcome import curves, table
    from minivit.recipes import pick_scale
    from minivit.storage import write_text

    recipe = pick_scale(options.scale)
    arms = [
        Arm(
            base=base,
            attention=attention,
            seed=seed,
            variant=options.variant,
            learning_rate=_rate(options, recipe, base, attention),
        )
        for base in _unique(options.bases or ["torch_default"])
        for attention in _unique(options.arms or DEFAULT_ARMS)
        for seed in _unique(options.seeds)
    ]
    epochs = arms[0].recipe(recipe).training.epochs  # a variant that is none is said at once
    processes = how_many(options.processes)
    folder = Path(options.out)
    print("reading the images; the first time they are decoded, which takes a while", flush=True)
    task = prepare(recipe, cifar10(options.data, options.source), folder, role=options.role)
    print(f"{task.source}: {len(arms)} runs of {epochs} epochs")
    if not options.variant:
        times = math.ceil(len(arms) / 2)
        print(f"two runs: {recipe.minutes}" + f"; so {times} times that" * (times > 1))
    with tqdm(total=len(arms) * epochs, unit="epoch") as bar:
        records = compare(arms, task, processes=processes, progress=lambda *_: bar.update())
        bar.update(bar.total - bar.n)
    text = table(records)
    print(f"\n{text}\n\nrecords in {folder}")
    try:
        from minivit import figures
    except ImportError:
        print("for the page of curves: pip install plotly")
        return
    drawn = [
        figures.training_curves(lines, title=f"base {base}", source=task.source)
        for base, lines in curves(records).items()
    ]
    page = folder / "compare.html"
    write_text(page, figures.page(drawn, title="Attention initializers compared", table=text))
    print(f"curves in {page}")


def _rate(options, recipe, base, attention):
    """What was asked for; else, for a final run, what was chosen for the arm; else the recipe's."""
    from minivit.protocol import rates
    from minivit.variants import parse_variant

    named = "learning_rate" in parse_variant(options.variant)
    if named or options.learning_rate is not None or options.role != "final":
        return options.learning_rate
    return rates(recipe.name, base, attention)[0]


def _unique(names):
    return list(dict.fromkeys(names))


def _train_folder(options):
    from dataclasses import replace

    from minivit import ViT, initialize_, model, save_model
    from minivit.augment import Augment
    from minivit.folders import FolderSet
    from minivit.ranks import join, local_device
    from minivit.runtime import pick_device
    from minivit.storage import write_text
    from minivit.train import TrainConfig, train

    ranks = join(pick_device(local_device()))
    first = ranks.is_first
    cut = {"size": options.size, "workers": options.workers}
    train_set = FolderSet(options.train, min_area=options.min_area, **cut)
    validation = FolderSet(options.validation, **cut)
    if train_set.classes != validation.classes:
        apart = sorted({*train_set.classes} ^ {*validation.classes})
        raise ValueError(
            f"{options.train} and {options.validation} must hold the same classes; in one of them "
            f"only: {', '.join(apart[:5])}{' …' if apart[5:] else ''}"
        )
    shape = {"image_size": options.size, "patch_size": options.patch, "pool": "mean"}
    shape |= {"classes": len(train_set.classes), "positions": "sincos_learned"}
    net = ViT(replace(getattr(model, FOLDER_MODELS[options.model]), **shape))
    initialize_(net, options.base, options.attention, seed=options.seed)
    warmup = options.warmup_epochs
    config = TrainConfig(
        epochs=options.epochs,
        warmup_epochs=min(8.0, options.epochs / 10) if warmup is None else warmup,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        clip_norm=1.0,
        augment=Augment(crop=0, mixup=options.mixup),
    )
    out = Path(options.out)

    def say(epoch):
        accuracy = 100 * epoch.validation_accuracy
        print(
            f"epoch {epoch.epoch} of {config.epochs}: loss {epoch.train_loss:.3f}, "
            f"validation accuracy {accuracy:.2f} %, {epoch.seconds:.0f} s",
            flush=True,
        )

    if first:
        print(
            f"{len(train_set):,} and {len(validation):,} images, {len(train_set.classes)} classes"
        )
    checkpoint = {"checkpoint": out / "checkpoint.safetensors", "callback": say}
    try:
        history = train(net, train_set, validation, config, seed=options.seed, **checkpoint)
    except RuntimeError as error:
        if ranks.world == 1:
            raise
        raise RuntimeError(
            f"{error}\nWhere that speaks of a connection, another process has ended, and said why. "
            f"{checkpoint['checkpoint']} holds the last whole epoch: start the same again to go on"
        ) from error
    if first:
        save_model(net.cpu(), out / "model.safetensors")
        write_text(out / "history.json", json.dumps(asdict(history), default=str, indent=1) + "\n")
        print(f"weights and history in {out}")


def _inspect(options):
    from minivit.inspection import inspection_table

    print(inspection_table(options.checkpoint, heads=options.heads))


def _doctor(options):
    from minivit.doctor import report

    return report(options.data)


if __name__ == "__main__":
    sys.exit(main())
