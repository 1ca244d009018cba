"""The command line: ``python -m benchmark``. Imports little, so that help and ``list`` answer at once."""

import errno
import importlib.util
import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from benchmark.cli.cluster_options import cluster_options
from benchmark.cli.data_options import data_options
from benchmark.cli.option_values import (
    backbone_names,
    budget,
    cams,
    corruption_names,
    offered,
    recipe_names,
    seconds,
    seeds,
    suite_names,
    workers,
)
from benchmark.cli.shared_options import (
    choice_option,
    device_option,
    keras_backend_option,
    path_option,
    plugin_option,
)
from benchmark.cli.standard_streams import open_missing, silence
from benchmark.cli.track import track_option
from benchmark.errors import UserError, nearest
from benchmark.text import plain

# Commands by their names: the module of this folder that has ``<name>_command``, which is imported when it is used,
# and one line of help.
COMMANDS = {
    "run": ("main", "Train, evaluate, write the leaderboard; the word may be left out."),
    "list": ("list", "Show every backbone, with the weights at hand."),
    "recipe": ("recipes", "Print a recipe, or the names of those that are shipped."),
    "suite": ("recipes", "Show the entries of a suite, or those that are shipped."),
    "status": ("status", "Say what is queued, running, done and failed in a folder."),
    "leaderboard": ("leaderboard", "Write the leaderboard of one results folder, or of several."),
    "predict": ("predict", "Ask a kept model about images."),
    "export": ("export", "Write a kept model for another runtime, and prove it there."),
    "publish": (
        "publish",
        "Make a board or a kept model fit to be given away, into a folder or to Hugging Face.",
    ),
    "data": ("data", "Look at a data set: classes, patients, duplicates, split."),
    "check": ("check", "Check that a backbone is sound."),
    "parity": ("parity", "Compare one network in two frameworks."),
    "new": ("check", "Write a starting file for a backbone of your own."),
}
_COMPLETION = "_TUMORBOARD_COMPLETE"  # the variable by which a shell asks for completions
_SEVERAL = (
    "--backbone",
    "--data",
    "--seed",
    "--entry",
    "--corruptions",
)  # options that take every word up to the next option


# What the machine lacks, and what to do about it: no fault of the program.
_OUTSIDE = {
    errno.ENOSPC: "Free some space and give the same command again",
    errno.EDQUOT: "Free some space and give the same command again",
    errno.EROFS: "Make the disk writable, or name another folder",
    errno.EMFILE: "Raise the number of files that a process may open (ulimit -n 1024)",
    errno.ENFILE: "End other programs",
    errno.EIO: "Look after the disk or terminal, and give the same command again",
}


class Unread(Exception):
    """Nobody reads what is printed, as after ``| head -1``."""


class Commands(click.Group):
    """A group that knows its commands by name and imports one when it is used."""

    def invoke(self, ctx: click.Context) -> Any:
        """Do a command; raises :class:`Unread` in place of what click would make of a closed pipe."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Unread from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # a word that is being completed
                return None
            raise UserError(f"Unknown command '{cmd_name}'.{nearest(cmd_name, tuple(COMMANDS))}")
        module = importlib.import_module(f"benchmark.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
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
    shell_complete=offered(backbone_names, files=False),
    help="Backbones by name; also timm:NAME and keras:NAME.",
)
@click.option(
    "--data",
    multiple=True,
    default=("phantom",),
    metavar="SOURCE ...",
    help="A folder or zip of images, or a known name; several with --cross.  [default: phantom]",
)
@click.option(
    "--cross",
    is_flag=True,
    help="Train on each of the sources and test on each, without what two of them share: the external matrix.",
)
@click.option(
    "--recipe",
    metavar="NAME",
    shell_complete=offered(recipe_names),
    help="Training recipe, shipped or a .toml file. [default: quick for the phantom, else default]",
)
@click.option(
    "--suite",
    metavar="NAME",
    shell_complete=offered(suite_names),
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
@click.option("--epochs", type=int, metavar="N", help="Epochs of training, at most.")
@click.option("--batch-size", type=int, metavar="N", help="Images in a training batch.")
@click.option("--learning-rate", type=float, metavar="RATE", help="Learning rate of the optimizer.")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    callback=seeds,
    metavar="N ...",
    help="One run for each seed. auto: seed 0, and where a network trained in under a minute seeds 1 and 2 too; on "
    "the phantom and with --recipe tune seed 0 alone, with --suite its own.  [default: auto]",
)
@click.option(
    "--weights",
    metavar="POLICY",
    help="imagenet, local, none or a file. [default: local for the phantom, else imagenet]",
)
@click.option("--allow-scratch", is_flag=True, help="Train from scratch where pretrained weights can't be had.")
@device_option
@keras_backend_option
@data_options
@click.option("--limit", type=int, metavar="N", help="Use N images only; the rows are marked.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that can't be read.")
@plugin_option
@path_option("--out", "DIR", "Results folder. [default: results/<data>]")
@click.option("--timeout", callback=seconds, metavar="TIME", help="Longest time for one run: seconds, or 30m, 2h.")
@click.option(
    "--cache-budget",
    callback=budget,
    metavar="SIZE",
    help="Disk for the outputs of frozen stages, which runs share; the least recently used go first, 0 keeps none. "
    "[default: 20GB, or half of what is free]",
)
@choice_option(
    "--oom",
    ["fail", "accumulate"],
    "fail",
    "Where memory is too small, fail, or halve the batch and accumulate gradients.",
)
@click.option(
    "--cam",
    "cams",
    callback=cams,
    metavar="N",
    help="Explain N test images of each new run by heat maps, or none. [default: 1000 with lesions' masks, else 96]",
)
@choice_option(
    "--cam-method",
    ["grad-cam", "hirescam", "layercam"],
    "grad-cam",
    "The formula of those maps: hirescam and layercam weigh each place of a map by itself.",
)
@click.option(
    "--cam-check",
    is_flag=True,
    help="Also check whether those maps change when the weights are replaced by random ones.",
)
@click.option(
    "--corruptions",
    multiple=True,
    metavar="NAME ...",
    shell_complete=offered(corruption_names, files=False),
    help="Also ask each new trained network about test images spoilt as in an MR scanner, in five severities: all, "
    "none, or some of bias-field, motion, ghosting, noise, blur, contrast, resolution. At most 25 more passes over "
    "the test images.  [default: none]",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything, measure a few steps, say how long it may take; do nothing."
)
@click.option("--rerun", is_flag=True, help="Do finished runs again.")
@click.option(
    "--rerun-speeds", is_flag=True, help="Measure the speeds of finished runs again, and leave the rest of them."
)
@click.option("--only-failed", is_flag=True, help="Do only runs that failed before.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often a run saves its state, between epochs; a run that is killed loses about as much.",
)
@choice_option(
    "--keep-models",
    ["all", "best", "none"],
    "best",
    "Which trained models to keep, whole, in the results folder: best is that of the board's best row.",
)
@click.option(
    "--workers",
    default="auto",
    callback=workers,
    metavar="N",
    help="How many runs go on side by side on this machine, each with a GPU, or with its share of the cores; auto is "
    "one for each GPU, and on a processor two where cores and memory allow.  [default: auto]",
)
@track_option
@cluster_options
@click.option("--note", default="", metavar="TEXT", help="Words of your own to keep with the new runs.")
@click.option("--debug", is_flag=True, help="Show a traceback where something goes wrong; also after a command.")
@click.version_option(package_name="tumorboard", prog_name="tumorboard")
@click.pass_context
def cli(ctx: click.Context, /, debug: bool, **options: Any) -> None:
    """Train and evaluate vision backbones on brain-tumour MRI, all alike, and write one leaderboard.

    Without a command, the options are those of the command run.

    \b
    python -m benchmark --all                       every backbone on the embedded phantom
    python -m benchmark --all --data archive.zip    on your images
    python -m benchmark --backbone timm/resnet50 timm:convnext_tiny --seed 0 1 2

    The same command again keeps what is done and does the rest. Research software, not for clinical use.
    """
    if ctx.invoked_subcommand is None:
        _run(**options)
    for parameter in ctx.command.params:
        typed = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if typed and parameter.name != "debug":  # the command would not see it
            raise UserError(
                f"{parameter.opts[0]} stands before the command '{ctx.invoked_subcommand}': put it after the command."
            )


def _run(**options: Any) -> NoReturn:
    from benchmark.cli.run import run
    from benchmark.execution.planning.request import request_of

    sys.exit(run(request_of(options)))


run_command = click.Command(
    "run",
    callback=_run,
    params=[parameter for parameter in cli.params if parameter.name not in ("debug", "version")],
    help="""Train and evaluate backbones, and write the leaderboard. The word run may be left out: these are the
    options of python -m benchmark itself.

    \b
    python -m benchmark run --all --data archive.zip
    python -m benchmark run --backbone timm/resnet50 timm:convnext_tiny --seed 0 1 2

    The same command again keeps what is done and does the rest.
    """,
)


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
    """Run a command; return the exit code: 0, 1 where some row is not ok, 2 for bad input, 130 interrupted, 141 where
    nobody reads what it prints.
    """
    words = sys.argv[1:] if arguments is None else arguments
    open_missing()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that a terminal can't show must not end a run
            stream.reconfigure(errors="replace")
    # a shell completes the installed command, never ``python -m benchmark``
    name = "tumorboard" if _COMPLETION in os.environ else "python -m benchmark"
    try:
        _check_own_backbones()
        own = [word for word in words if word != "--debug"]  # it may stand anywhere
        result = cli.main(args=own, prog_name=name, complete_var=_COMPLETION, standalone_mode=False)
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
    except Unread:
        silence()
        return 141  # as a shell has it for SIGPIPE, by which other programs end then
    except OSError as error:
        if error.errno not in _OUTSIDE or "--debug" in words:
            raise
        with suppress(OSError):
            where = f" ('{error.filename}')" if error.filename else ""
            print(plain(f"{error.strerror}{where}. {_OUTSIDE[error.errno]}."), file=sys.stderr)
        silence()
        return 2
