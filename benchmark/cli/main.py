"""The command line: ``python -m benchmark``. Imports little, so that help and ``list`` answer at once."""

import importlib.util
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from benchmark.cli.data_options import data_options
from benchmark.errors import UserError, nearest
from benchmark.text import plain

# Commands by where they are: nothing is imported until it is used. (attribute, one line of help)
COMMANDS = {
    "list": ("benchmark.cli.run:list_command", "Show every backbone, with the weights at hand."),
    "recipe": (
        "benchmark.cli.run:recipe_command",
        "Print a recipe, or the names of those that are shipped.",
    ),
    "suite": (
        "benchmark.cli.run:suite_command",
        "Show the entries of a suite, or those that are shipped.",
    ),
    "leaderboard": (
        "benchmark.cli.leaderboard:leaderboard_command",
        "Write the leaderboard of one results folder, or several, anew.",
    ),
    "predict": (
        "benchmark.cli.predict:predict_command",
        "Ask a kept model about images.",
    ),
    "export": (
        "benchmark.cli.export:export_command",
        "Write a kept model for another runtime, and prove it there.",
    ),
    "data": ("benchmark.cli.data:data_command", "Look at a data set: classes, patients, duplicates, split."),
    "check": ("benchmark.cli.check:check_command", "Check that a backbone is sound."),
    "parity": ("benchmark.conformance.parity:parity_command", "Compare one network in two frameworks."),
    "new": ("benchmark.cli.check:new_command", "Write a starting file for a backbone of your own."),
}
_COMPLETION = "_TUMORBOARD_COMPLETE"  # the variable by which a shell asks for completions
_SEVERAL = ("--backbone", "--seed", "--entry")  # options that take every word up to the next option


class Commands(click.Group):
    """A group that knows its commands by name and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # a word that is being completed
                return None
            raise UserError(f"Unknown command '{cmd_name}'.{nearest(cmd_name, tuple(COMMANDS))}")
        where, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(where), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        return super().parse_args(ctx, _one_value_each(args))


def _one_value_each(args: list[str]) -> list[str]:
    """Return ``--backbone a b`` as ``--backbone a --backbone b``, which is what click takes."""
    spread: list[str] = []
    option = ""
    values = 0
    for word in args:
        if word.startswith("-") and not re.fullmatch(r"-\d+", word):
            option, values = (word if word in _SEVERAL else ""), 0
            spread.append(word)
            continue
        if option and values:
            spread.append(option)
        values += 1
        spread.append(word)
    return spread


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Read a duration: seconds, or a number with s, m or h."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise UserError(f"--timeout {value}: give seconds, or a number with s, m or h, such as 90, 30m or 2h.")
    return seconds


def _budget(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Read a size on the disk."""
    if value is None:
        return None
    from benchmark.training.feature_store import parse_size

    try:
        return parse_size(value)
    except ValueError:
        raise UserError(f"--cache-budget {value}: give a size such as 500MB or 20GB; 0 keeps nothing.") from None


def _seeds(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    words = [word for value in values for word in value.split(",") if word.strip()]
    try:
        return tuple(dict.fromkeys(int(word) for word in words))
    except ValueError:
        raise UserError(f"--seed {' '.join(values)}: give whole numbers, such as --seed 0,1,2.") from None


def _cams(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Read how many images are explained: a number, or ``none`` for 0."""
    if value is None or value.strip().isdecimal():
        return None if value is None else int(value)
    if value.strip().lower() == "none":
        return 0
    raise UserError(f"--cam {value}: give a number of test images, or none.")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--all", is_flag=True, help="Every registered backbone.")
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    metavar="NAME ...",
    help="Backbones by name; also timm:NAME and keras:NAME.",
)
@click.option(
    "--data",
    default="phantom",
    show_default=True,
    metavar="SOURCE",
    help="A folder or zip of images, or a known name.",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="Training recipe, shipped or a .toml file. [default: quick for the phantom, else default]",
)
@click.option(
    "--suite",
    metavar="NAME",
    help="Runs that belong together, shipped or a .toml file: backbones x recipes x seeds x folds.",
)
@click.option(
    "--entry",
    "entries",
    multiple=True,
    metavar="NAME ...",
    help="Only these entries of the suite. 'flip' also takes every entry whose name begins with 'flip, '.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change one recipe field, such as schedule.name=cosine.",
)
@click.option("--size", type=int, metavar="PIXELS", help="Side of the square input; 0 is each backbone's own.")
@click.option("--epochs", type=int, metavar="N")
@click.option("--batch-size", type=int, metavar="N")
@click.option("--learning-rate", type=float, metavar="RATE")
@click.option(
    "--seed", "seeds", multiple=True, callback=_seeds, metavar="N ...", help="One run for each seed.  [default: 0]"
)
@click.option(
    "--weights",
    metavar="POLICY",
    help="imagenet, local, none or a file. [default: local for the phantom, else imagenet]",
)
@click.option("--allow-scratch", is_flag=True, help="Train from scratch where pretrained weights can't be had.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--keras-backend", type=click.Choice(["tensorflow", "torch"]), default="tensorflow", show_default=True)
@data_options
@click.option("--limit", type=int, metavar="N", help="Use N images only; the rows are marked.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that can't be read.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A Python file with backbones of your own.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Results folder. [default: results/<data>]"
)
@click.option("--timeout", callback=_seconds, metavar="TIME", help="Longest time for one run: seconds, or 30m, 2h.")
@click.option(
    "--cache-budget",
    callback=_budget,
    metavar="SIZE",
    help="Disk for the outputs of frozen stages, which runs share; the least recently used go first, 0 keeps none. "
    "[default: 20GB, or half of what is free]",
)
@click.option(
    "--oom",
    type=click.Choice(["fail", "accumulate"]),
    default="fail",
    show_default=True,
    help="Where memory is too small, fail, or halve the batch and accumulate gradients.",
)
@click.option(
    "--cam",
    "cams",
    callback=_cams,
    metavar="N",
    help="Explain N test images of each new run by Grad-CAM, or none. [default: 1000 with lesions' masks, else 96]",
)
@click.option("--cam-check", is_flag=True, help="Also see whether those maps change when weights are drawn anew.")
@click.option(
    "--dry-run", is_flag=True, help="Check everything, measure a few steps, say how long it may take; do nothing."
)
@click.option("--rerun", is_flag=True, help="Do again what is done.")
@click.option("--only-failed", is_flag=True, help="Do only what was tried and failed.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often a run saves its state, between epochs; a run that is killed loses about as much.",
)
@click.option(
    "--keep-models",
    type=click.Choice(["all", "best", "none"]),
    default="best",
    show_default=True,
    help="Which trained models to keep, whole, in the results folder: best is that of the board's best row.",
)
@click.option("--note", default="", metavar="TEXT", help="Words of your own to keep with the new runs.")
@click.option("--debug", is_flag=True, help="Show a traceback where something goes wrong.")
@click.version_option(package_name="tumorboard", prog_name="tumorboard")
@click.pass_context
def cli(ctx: click.Context, /, debug: bool, **options: Any) -> None:
    """Train and evaluate vision backbones on brain-tumour MRI, all alike, and write one leaderboard.

    \b
    python -m benchmark --all                       every backbone on the embedded phantom
    python -m benchmark --all --data archive.zip    on your images
    python -m benchmark --backbone timm/resnet50 timm:convnext_tiny --seed 0 1 2

    The same command again keeps what is done and does the rest. Research software, not for clinical use.
    """
    ctx.ensure_object(dict)["debug"] = debug
    if ctx.invoked_subcommand is None:
        from benchmark.cli.run import run
        from benchmark.execution.planning.request import request_of

        sys.exit(run(request_of(options)))


def _check_own_backbones() -> None:
    """Raise ``UserError`` where the package ``backbones`` that Python finds is not the one beside this package."""
    spec = importlib.util.find_spec("backbones")
    places = [] if spec is None else [*(spec.submodule_search_locations or []), *filter(None, [spec.origin])]
    own = Path(__file__).resolve().parents[2] / "backbones"
    if own not in (Path(place).resolve() for place in places):
        raise UserError(
            f"Python finds a module 'backbones' of yours ({places[0] if places else 'nowhere'}) in place of "
            "TumorBoard's: start with the command tumorboard in place of python -m benchmark, or from another folder."
        )


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0, 1 where some row is not ok, 2 for bad input, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that a terminal can't show must not end a run
            stream.reconfigure(errors="replace")
    # a shell completes the installed command, never ``python -m benchmark``
    name = "tumorboard" if _COMPLETION in os.environ else "python -m benchmark"
    try:
        _check_own_backbones()
        result = cli.main(args=words, prog_name=name, complete_var=_COMPLETION, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (UserError, click.ClickException) as error:
        if "--debug" in words:
            raise
        sentence = error.format_message() if isinstance(error, click.ClickException) else str(error)
        print(plain(sentence), file=sys.stderr)
        return 2
    except (KeyboardInterrupt, click.Abort):
        print("Interrupted.", file=sys.stderr)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
