"""The command ``run``: plan the runs, do them, write the board, and say how all ended."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.standard_streams import silence
from benchmark.cli.track import tracking_of
from benchmark.dependencies import require_posix
from benchmark.errors import UserError, writing
from benchmark.ownership import other_writers

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.execution.executors.base import Executor
    from benchmark.execution.planning.plan import Plan
    from benchmark.execution.planning.request import Request
    from benchmark.execution.summary import Summary
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
            try:
                executor = entry.load()(further, request)
                later = _do_runs(further, request, executor, console, tracking, leaves=entry.workers_claim)
                summary = _both(summary, later)
            except UserError as error:  # what was done before has its board
                summary = replace(summary, problems=(*summary.problems, str(error)))
            except KeyboardInterrupt:
                summary = replace(summary, interrupted=True)
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

    with writing(f"--out {out}"):
        take_over(out)
        out.mkdir(parents=True, exist_ok=True)
        write_guide(out)


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
    from benchmark.data.preparation.prepare import load_prepared
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
