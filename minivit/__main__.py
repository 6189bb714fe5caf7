"""The command line: `python -m minivit compare`, `inspect CHECKPOINT`, `doctor`."""

import argparse
import sys
from pathlib import Path


def main(words=None):
    """Runs one command; returns the exit status. What is wrong is said in a sentence."""
    options = _parser().parse_args(words)
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"minivit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        notes = getattr(interrupt, "__notes__", None) or ["stopped"]
        print("\n" + "\n".join(notes), file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="minivit", description="Vision Transformers, mimetic init."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    compare = commands.add_parser("compare", help="train the arms of a comparison side by side")
    compare.set_defaults(run=_compare)
    compare.add_argument("--arms", nargs="+", metavar="ARM", help="plain, mimetic, norm_matched, …")
    compare.add_argument(
        "--bases", nargs="+", metavar="BASE", help="torch_default, vit_trunc_normal"
    )
    compare.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    compare.add_argument("--variant", default="", help='what else differs, as in "heads=4"')
    compare.add_argument("--learning-rate", type=float, help="(default: the recipe's)")
    compare.add_argument("--role", default="live", help="live, tuning or final: see PROTOCOL.md")
    compare.add_argument("--scale", help="smoke, laptop, colab or full (default: by device)")
    compare.add_argument("--data", help="an archive or folder of images (default: $MINIVIT_DATA)")
    compare.add_argument("--source", default="auto", help="torchvision, folder, synthetic or auto")
    compare.add_argument("--out", default="runs", help="folder for records and the page of curves")
    compare.add_argument("--processes", type=int, help="runs at a time (default: 2 on a CPU)")
    inspect = commands.add_parser("inspect", help="the diagonal of each head of a checkpoint")
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("checkpoint", help="a file, or a name such as deit_tiny_patch16_224")
    inspect.add_argument("--heads", type=int, help="where they can't be seen in the file")
    doctor = commands.add_parser("doctor", help="check environment, device, data and weights")
    doctor.set_defaults(run=_doctor)
    doctor.add_argument("--data", help="an archive or folder of images (default: $MINIVIT_DATA)")
    return parser


def _compare(options):
    from tqdm import tqdm

    from minivit.compare import DEFAULT_ARMS, Arm, compare, curves, prepare, table
    from minivit.data import cifar10
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
    folder = Path(options.out)
    task = prepare(recipe, cifar10(options.data, options.source), folder, role=options.role)
    print(f"{task.source}: {len(arms)} runs of {recipe.training.epochs} epochs")
    print(f"plain and mimetic together: {recipe.minutes}")
    with tqdm(total=len(arms) * recipe.training.epochs, unit="epoch") as bar:
        records = compare(arms, task, processes=options.processes, progress=lambda *_: bar.update())
        bar.update(bar.total - bar.n)
    text = table(records)
    print(f"\n{text}\n\nrecords in {folder}")
    try:
        from minivit import figures
    except ImportError:
        print("for the page of curves: pip install plotly")
        return
    title = f"{task.source}: attention initializers compared"
    drawn = [
        figures.training_curves(lines, title=f"base {base}", source=task.source)
        for base, lines in curves(records).items()
    ]
    page = folder / "compare.html"
    write_text(page, figures.page(drawn, title=title, table=text))
    print(f"curves in {page}")


def _rate(options, recipe, base, attention):
    """What was asked for; else, for a final run, what was chosen for the arm; else the recipe's."""
    from minivit.protocol import rates

    if options.learning_rate is not None or options.role != "final":
        return options.learning_rate
    return rates(recipe.name, base, attention)[0]


def _unique(names):
    return list(dict.fromkeys(names))


def _inspect(options):
    from minivit.inspection import inspection_table

    print(inspection_table(options.checkpoint, heads=options.heads))


def _doctor(options):
    from minivit.doctor import report

    return report(options.data)


if __name__ == "__main__":
    sys.exit(main())
