"""What the commands do, once one is chosen: run, list, recipe."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.json_output import json_option, print_json
from benchmark.cli.standard_streams import silence
from benchmark.cli.track import tracking_of
from benchmark.dependencies import how_to_install, require_posix
from benchmark.errors import UserError
from benchmark.ownership import other_writers
from benchmark.text import plain, shown

if TYPE_CHECKING:
    from rich.console import Console

    from backbones import Backbone
    from benchmark.execution.executors.base import Executor
    from benchmark.execution.planning.plan import Plan
    from benchmark.execution.planning.request import Request
    from benchmark.execution.summary import Summary
    from benchmark.recipe import Recipe
    from benchmark.reporting.leaderboard import WrittenBoard
    from benchmark.tracking.session import Tracking


def run(request: "Request") -> int:
    """Plan the runs, do them, show how they ended; return the exit code."""
    from rich.console import Console

    console = Console()
    plan = planned(request, console)
    if request.dry_run:
        from benchmark.execution.planning.dry_run import dry_run

        return dry_run(plan, request, console)
    return carry_out(plan, request, console).exit_code


def planned(request: "Request", console: "Console") -> "Plan":
    """Return the plan of a request, and tell what is to be said of it.

    Raises:
        UserError: what was asked for can't be done, or not on this system.
    """
    require_posix()
    from benchmark.execution.planning.plan import make_plan
    from benchmark.execution.progress import Steps, tell

    with Steps(console, "Looking at the images and backbones") as say:
        plan = make_plan(request, say)
    for note in plan.notes:
        tell(console, f"Note: {note}")
    return plan


def carry_out(plan: "Plan", request: "Request", console: "Console") -> "Summary":
    """Do the runs of a plan and those that follow from them, write the board, and show how all ended."""
    from benchmark.execution.executors.table import executor_entry
    from benchmark.execution.planning.further_seeds import following, further_seeds
    from benchmark.execution.progress import Steps, show_summary, tell
    from benchmark.records.suite_membership import save_experiments

    entry = executor_entry(request.executor)
    executor = entry.load()(plan, request)
    make_ready(plan.out)
    _tell_who_else_writes(plan.out, console)
    plan.images.save(plan.out)
    if plan.suite is not None:
        save_experiments(plan.out, plan.suite, plan.members, request.changes)
    with tracking_of(request.track, plan.out, console) as tracking:
        summary = _do_runs(plan, request, executor, console, tracking, leaves=entry.workers_claim)
        further = further_seeds(plan, request)
        if further.jobs and not summary.interrupted:
            tell(console, following(further))
            executor = entry.load()(further, request)
            later = _do_runs(further, request, executor, console, tracking, leaves=entry.workers_claim)
            summary = _both(summary, later)
        board: WrittenBoard | None = None
        problems: tuple[str, ...] = ()
        if summary.finished:
            try:
                with Steps(console, "Writing the leaderboard", lines=False) as say:
                    board, problems = write_board(plan, say)
            except KeyboardInterrupt:  # all records are there
                problems = (f"The leaderboard is not written: python -m benchmark leaderboard {plan.out}",)
                summary = replace(summary, interrupted=True)
        models, model_problems = settled_models(plan, request, board)
        summary = replace(summary, problems=(*summary.problems, *problems, *model_problems))
        show_summary(console, summary, board.page if board else None, board.answers if board else ())
        if request.detach:
            left = summary.planned - len(summary.finished)
            ask = f"python -m benchmark status '{plan.out}'"
            tell(
                console,
                f"{left} of {summary.planned} runs are left to the queue. How far they are: {ask}. The same command "
                "without --detach waits for them and writes the board.",
            )
        for folder in models:
            console.print(f"Best model: {folder}", highlight=False, markup=False, soft_wrap=True)
        if tracking is not None and board is not None:
            tracking.board(board)
    return summary


def _both(first: "Summary", later: "Summary") -> "Summary":
    """Return the end of two plans, of which one followed the other."""
    return replace(
        later,
        finished=(*first.finished, *later.finished),
        planned=first.planned + later.planned,
        problems=(*first.problems, *later.problems),
    )


def _do_runs(
    plan: "Plan",
    request: "Request",
    executor: "Executor",
    console: "Console",
    tracking: "Tracking | None",
    *,
    leaves: bool,
) -> "Summary":
    """Do the runs of a plan, which a signal may end early; show what happens, and tell it to trackers.

    Args:
        leaves: whether runs go on when this command is gone.
    """
    from benchmark.execution.controller import Controller
    from benchmark.execution.executors.base import Control
    from benchmark.execution.progress import Display
    from benchmark.execution.summary import Watcher

    control = Control()
    signals = _ends_by(leaves=leaves)
    before = {number: signal.signal(number, lambda *_: control.ask() and None) for number in signals}
    if signal.SIGHUP in before:  # it comes more than once, and with prints that fail: none of them is a second wish
        signal.signal(signal.SIGHUP, lambda *_: control.finish())
    try:
        unread = (lambda: None) if leaves else control.finish
        with Display(console, len(plan.jobs), on_unread=unread) as display:
            watcher: Watcher = display
            if tracking is not None and not leaves:  # a queue shows some epochs only: it is told with the board
                from benchmark.tracking.session import Watchers

                watcher = Watchers(display, tracking)
            summary = Controller(plan, request, executor, control, watcher, workers_claim=leaves).carry_out()
        if display.unread:
            silence()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return summary


def _tell_who_else_writes(out: Path, console: "Console") -> None:
    """Say where others may write to a results folder: it may have been made just now, in a lab's place."""
    from benchmark.execution.progress import tell

    others = other_writers(out)
    if others:
        tell(
            console,
            f"Note on '{out}': {others}. Whoever writes there can change records, and checkpoints from which a run "
            "goes on: share a results folder only with people whom you trust.",
        )


def settled_models(
    plan: "Plan", request: "Request", board: "WrittenBoard | None"
) -> tuple[list[Path], tuple[str, ...]]:
    """Bring the kept models in line with the board; return those of its best rows, and what prevented it."""
    if board is None or request.settings.keep_models == "none":
        return [], ()
    from filelock import FileLock

    from benchmark.atomic_files import inside
    from benchmark.models.best import settle_models
    from benchmark.records.results_folder import CLAIMS

    try:
        with FileLock(inside(plan.out, *CLAIMS, "leaderboard.lock")):
            return settle_models(plan.out, board.board), ()
    except OSError as error:
        return [], (f"The kept models could not be brought in line with the board: {error.strerror or error}.",)


def make_ready(out: Path) -> None:
    """Make a results folder, with the file that explains it, and move what an earlier version kept elsewhere.

    Raises:
        UserError: it can't be written, or an earlier version is working there.
    """
    from benchmark.execution.old_layout import take_over
    from benchmark.records.results_folder import write_guide

    try:
        take_over(out)
        out.mkdir(parents=True, exist_ok=True)
        write_guide(out)
    except OSError as error:
        raise UserError(f"--out {out} can't be written: {error.strerror or error}.") from None


def _ends_by(*, leaves: bool) -> tuple[signal.Signals, ...]:
    """Return the signals that ask for the end; the terminal's own is none where it is ignored (``nohup``).

    Args:
        leaves: whether the runs go on without this command: a terminal that is closed then ends nothing but it.
    """
    ignored = leaves or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return signal.SIGINT, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,))


def write_board(plan: "Plan", say: Callable[[str], None]) -> tuple["WrittenBoard | None", tuple[str, ...]]:
    """Write the leaderboard of all records in a plan's results folder, with a montage of the largest images, small
    copies of all test images and what is known of them; return it, or ``None`` and a sentence on what prevented it.

    Args:
        say: is told what is being done.
    """
    from filelock import FileLock

    from benchmark.atomic_files import inside
    from benchmark.records.results_folder import CLAIMS
    from benchmark.reporting.leaderboard import write_leaderboard

    try:
        with FileLock(inside(plan.out, *CLAIMS, "leaderboard.lock")):
            problems = _keep_pictures(plan)
            return write_leaderboard(plan.out, say=say), problems
    except UserError as error:
        return None, (str(error),)
    except OSError as error:
        return None, (f"The leaderboard could not be written: {error.strerror or error}.",)


def _keep_pictures(plan: "Plan") -> tuple[str, ...]:
    """Write the montage, the small images and what is known of them; return a sentence on what prevented it, if
    anything did.
    """
    from benchmark.data import load_prepared
    from benchmark.execution.worker.inputs import load_images
    from benchmark.records.outcomes import RunFailure
    from benchmark.reporting.breakdown.image_facts import write_image_facts
    from benchmark.reporting.figures.montage import write_montage
    from benchmark.reporting.figures.thumbnails import write_thumbnails

    largest = max(plan.jobs, key=lambda job: job.run.recipe.size)
    # every fold has test images of its own
    splits = {(job.data.fingerprint, job.split_file): job for job in plan.jobs}
    try:
        write_montage(load_prepared(largest.data_folder), plan.out)
        for job in splits.values():
            data, split = load_images(job)
            write_thumbnails(data, split.test, plan.out)
            write_image_facts(data, split.test, plan.out)
    except (UserError, RunFailure, OSError) as error:
        why = error.strerror or error if isinstance(error, OSError) else error
        return (f"The board shows only images that earlier commands kept: {str(why).rstrip('.')}.",)
    return ()


@click.command("list")
@json_option
@click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), metavar="FILE")
def list_command(as_json: bool, plugins: tuple[Path, ...]) -> None:
    """Show every backbone, with the weights at hand, and plug-ins that can't be used, with the reason."""
    from backbones.registry import load_registry

    for path in plugins:
        if not path.is_file():
            raise UserError(f"--plugin {path}: no such file.")
    registry = load_registry(plugins)
    entries = [_facts(registry.get(name)) for name in registry.names()]
    broken = [{"name": each.name, "origin": each.origin, "reason": each.reason} for each in registry.broken]
    if as_json:
        print_json({"backbones": entries, "broken": broken})
        return
    lines = [tuple(_LISTED.values()), *(tuple(_cell(entry[column]) for column in _LISTED) for entry in entries)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(_LISTED))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(shown("  ".join(cells).rstrip()))
    click.echo(
        "\nAlso every model of two libraries: timm:NAME, keras:NAME. timm/resnet50 and timm:resnet50 are two rows:\n"
        "the first is declared above, with fixed weights, the second is what the installed timm makes of that name."
    )
    missing = sorted({module for name in registry.names() for module in registry.get(name).missing_modules()})
    if missing:
        click.echo(f"Not installed: {', '.join(missing)}. To train with them: {how_to_install(missing)}")
    for each in broken:
        click.echo(plain(f"Not usable: {each['name']} ({each['origin']}): {each['reason']}"))


# what `list` shows in its table, and how it is headed
_LISTED = {
    "name": "name",
    "framework": "framework",
    "library": "library",
    "input_size": "input",
    "parameters": "parameters",
    "stages": "stages",
    "weights": "weights",
    "note": "note",
}


def _cell(value: Any) -> str:
    """Return a fact as a cell: numbers above ten thousand in millions, empty where it is not known."""
    if value is None:
        return ""
    return f"{value / 1e6:.1f} M" if isinstance(value, int) and value >= 10_000 else str(value)


def _facts(entry: "Backbone") -> dict[str, Any]:
    """Return what ``list`` shows of a backbone."""
    try:
        at_hand = entry.local_weights() if entry.local_weights else None
        weights = "none"
        if at_hand is not None:
            weights = "at hand"
        elif entry.imagenet is not None:
            weights = "to fetch"
    except Exception as error:  # a plug-in's; it must not take the list along
        at_hand, weights = None, f"broken ({type(error).__name__}: {error})"
    missing = entry.missing_modules()
    note = entry.note
    if missing:
        note = f"not installed: {', '.join(missing)}" + (f"; {note}" if note else "")
    return {
        "name": entry.name,
        "framework": _executed_by(entry),
        "library": entry.library,
        "input_size": entry.input_size,
        "parameters": entry.parameters,
        "stages": entry.stage_count,
        "weights": weights,
        "imagenet": entry.imagenet,
        "weights_file": str(at_hand) if at_hand else None,
        "note": note,
        "origin": entry.origin,
    }


def _executed_by(entry: "Backbone") -> str:
    """Return the framework that executes a network, as boards name it; a plug-in's own where no engine runs it."""
    from benchmark.engines import engine_of
    from benchmark.records.settings import Settings

    try:
        return engine_of(entry, Settings().keras_backend)
    except UserError:
        return entry.framework


@click.command("recipe")
@click.argument("name", required=False)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field first.")
def recipe_command(name: str | None, settings: tuple[str, ...]) -> None:
    """Print a recipe in full as TOML, shipped or from a .toml file; without a name, list the shipped ones."""
    from benchmark.execution.planning.request import parse_setting
    from benchmark.recipe import load_recipe, shipped_names

    if name is None:
        for shipped in shipped_names():
            click.echo(shipped)
        return
    recipe = load_recipe(name).with_values(dict(parse_setting(text) for text in settings))
    click.echo(as_toml(recipe), nl=False)


@click.command("suite")
@click.argument("name", required=False)
def suite_command(name: str | None) -> None:
    """Show the entries of a suite, shipped or from a .toml file; without a name, the shipped suites."""
    from benchmark.recipe.suite import load_suite, suite_names

    if name is None:
        for shipped in suite_names():
            click.echo(f"{shipped}: {load_suite(shipped).about}")
        return
    suite = load_suite(name)
    click.echo(plain(suite.about))
    for entry in suite.entries:
        facts = [", ".join(entry.backbones or suite.backbones or ())]
        facts += [f"continues from '{entry.init_from}'"] if entry.init_from else []
        facts += ["for a GPU, or --limit"] if entry.gpu else []
        facts += [entry.note] if entry.note else []
        click.echo(plain(f"{entry.name}: {'; '.join(facts)}"))


def as_toml(recipe: "Recipe") -> str:
    """Return a recipe as TOML that reads back as the same recipe.

    TOML has no word for nothing: a field that is ``None`` is left out, which is what its absence means, and
    named in a comment.
    """
    import tomli_w

    from benchmark.recipe import field_names

    values = recipe.model_dump(mode="json")
    unset = [name for name in field_names() if _value(values, name) is None]
    comment = f"\n# Not set: {', '.join(unset)}\n" if unset else ""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)) + comment


def _value(values: Mapping[str, Any], dotted: str) -> Any:
    value: Any = values
    for part in dotted.split("."):
        value = value[part]
    return value
