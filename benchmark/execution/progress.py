"""What the user sees while runs go on: a live display in a terminal, plain lines elsewhere, a table at the end."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from benchmark.execution.summary import FinishedRun, Summary
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.text import plain, shown

_SHOWN_ALONE = 8  # runs at a time that are shown each by itself; of more, one line now and then is of all
_CALM_SECONDS = 15.0  # between two such lines
_TRAINING, _FINISHING = "training", "finishing the epoch (Ctrl-C again stops at once)"


def clock(seconds: float) -> str:
    """Return a duration as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_left(seconds: float | None) -> str:
    """Return ``2:03 left``; empty where it is not known, or below half a second: training may be at its end, and how
    long the rest of a run takes is not known.
    """
    return f"{clock(seconds)} left" if seconds and round(seconds) else ""


def tell(console: Console, text: str) -> None:
    """Print a sentence. A terminal's lines break between words; those of a file, or of a pipe, do not break."""
    console.print(shown(text), highlight=False, markup=False, soft_wrap=not console.is_terminal)


class Steps:
    """Tells what is being done before and after the runs; a context manager.

    On a terminal it is one line, which the next one takes the place of; elsewhere each step is a line, and of a step
    that counts there is a line at every fourth of it.

    Args:
        console: the terminal or file that is written to.
        text: what is being done first.
        lines: whether steps are told where there is no terminal.
    """

    def __init__(self, console: Console, text: str, *, lines: bool = True) -> None:
        self._console, self._lines = console, lines
        self._status = console.status(escape(text))
        self._fourths = -1

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, text: str, share: float | None = None, /) -> None:
        """Tell the next step, or how far it is.

        Args:
            share: how much of a step that counts is done, 0 to 1; ``None`` for one that does not count.
        """
        if self._console.is_terminal:
            self._status.update(escape(text))
            return
        if not self._lines:
            return
        fourths = -1 if share is None else int(4 * share)
        if share is None or fourths != self._fourths:
            tell(self._console, text)
        self._fourths = fourths


class RunProgress:
    """How far a run is, and how long it will take: a function of its events and of the time that passes."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.phase = "starting"
        self.epoch = 0
        self.loss: float | None = None
        self.images_per_s: float | None = None
        self.share = 0.0
        self._trained_from: tuple[float, float] | None = None  # when training was first seen, and the share then

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """Take note of one event of the worker at a time in seconds."""
        kind = event.get("event")
        if kind == "phase":
            self.phase = str(event.get("phase", ""))
        elif kind == "stopping":
            self.phase = _FINISHING
        elif kind in ("step", "epoch"):
            whole = kind == "epoch"
            self.phase = self.phase if self.phase == _FINISHING else _TRAINING
            self.epoch = int(event.get("epoch", 0))
            self.epochs = max(1, int(event.get("epochs", self.epochs)))
            part = 1.0 if whole else float(event.get("step", 0)) / max(1, int(event.get("steps", 1)))
            self.share = min(1.0, (self.epoch - 1 + part) / self.epochs)
            self.loss = float(event.get("train_loss" if whole else "loss", "nan"))
            if not whole:
                self.images_per_s = float(event.get("images_per_s", 0.0))
            if self._trained_from is None:
                self._trained_from = (now, self.share)

    @property
    def stopping(self) -> bool:
        """Whether the user wants the end."""
        return self.phase == _FINISHING

    def left(self, now: float) -> float | None:
        """Return the seconds that training still takes at its pace so far, ``None`` before there is one."""
        if self._trained_from is None:
            return None
        since, share = self._trained_from
        if self.share <= share or now <= since:
            return None
        return (1 - self.share) * (now - since) / (self.share - share)

    def describe(self, now: float) -> str:
        """Return the phase in one line; during training with epoch, loss, speed and time left."""
        parts = [self.phase]
        if self.phase != _TRAINING:
            return self.phase
        if self.epoch:
            parts.append(f"epoch {self.epoch}/{self.epochs}")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.images_per_s:
            parts.append(f"{self.images_per_s:.0f} images/s")
        left = time_left(self.left(now))
        return " · ".join([*parts, left] if left else parts)


@dataclass
class _Shown:
    """A run that goes on, as it is shown.

    Args:
        name: the run, with its number.
        began: when, by the monotonic clock.
        progress: how far it is.
        task: its line of the live display.
    """

    name: str
    began: float
    progress: RunProgress
    task: TaskID | None = None


class Display:
    """Tells the user what happens; a context manager.

    Args:
        console: the terminal or file that is written to; on a terminal the display is live.
        total: the number of runs in the plan.
        on_unread: is called once where nobody reads any more: the terminal is closed, or a pipe's other end.
    """

    def __init__(self, console: Console, total: int, on_unread: Callable[[], object] = lambda: None) -> None:
        self._on_unread, self.unread = on_unread, False
        self.console, self.total = console, total
        self.live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            console=console,
            transient=True,
        )
        self._all: TaskID | None = None
        self._runs: dict[str, _Shown] = {}  # those that go on, by their keys
        self._settled = 0
        self._ended, self._taken = 0, 0.0  # runs that began here, and the seconds that they took
        self._told_at = -_CALM_SECONDS

    def __enter__(self) -> Self:
        if self.live:
            self._all = self._progress.add_task("All runs", total=self.total, state="")
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            with suppress(OSError):  # the terminal may be gone
                self._progress.stop()

    def note(self, text: str) -> None:
        """Show a sentence."""
        if self.unread:
            return
        try:
            tell(self.console, text)
        except (OSError, SystemExit):  # rich ends the program on a closed pipe
            self.unread = True
            self._on_unread()

    # what the controller tells

    def kept(self, run: FinishedRun) -> None:
        """Show that a run was done before."""
        self._settled += 1
        self.note(f"{_title(run.job)}: kept, {_result(run)}")
        self._show_all()

    def started(self, job: Job, number: int) -> None:
        """Show that a run begins."""
        name = f"Run {number} of {self.total}: {_title(job)}"
        shown = self._runs[job.key] = _Shown(name, time.monotonic(), RunProgress(job.run.recipe.epochs))
        if self.live:
            visible = len(self._runs) <= _SHOWN_ALONE
            shown.task = self._progress.add_task(escape(name), total=1.0, state="starting", visible=visible)
        elif len(self._runs) <= _SHOWN_ALONE:
            self.note(f"{name} on {job.device}")

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """Show what a worker reports."""
        now = time.monotonic()
        if event.get("event") == "note":
            self.note(f"{_title(job)}: {plain(str(event.get('note')))}")
        shown = self._runs.get(job.key)
        if shown is None:
            return
        run = shown.progress
        run.take(event, now)
        if self.live and shown.task is not None:
            self._progress.update(shown.task, completed=run.share, state=escape(run.describe(now)))
            self._show_all()
        elif len(self._runs) > _SHOWN_ALONE:
            self._tell_of_all(now)
        elif event.get("event") == ("stopping" if run.stopping else "epoch"):
            whole = time_left(self._left_in_all(now))
            rest = f"; all runs: {whole}" if whole else ""
            which = f"{_title(job)}: " if len(self._runs) > 1 else ""
            self.note(f"  {which}{run.describe(now)}{rest}")

    def ended(self, run: FinishedRun) -> None:
        """Show how a run ended."""
        self._settled += 1
        shown = self._runs.pop(run.job.key, None)
        if shown is not None:
            self._ended, self._taken = self._ended + 1, self._taken + time.monotonic() - shown.began
            if shown.task is not None:
                self._progress.remove_task(shown.task)
        self.note(f"{_title(run.job)}: {_result(run)} ({clock(run.record.timings.total_s)})")
        self._show_all()

    def waiting(self, count: int, holders: str) -> None:
        """Show that what is left is being done by another command."""
        runs = "run is" if count == 1 else "runs are"
        self.note(f"{count} {runs} being done by another command on this folder ({holders}); waiting for it.")

    def took_over(self, job: Job, holder: str) -> None:
        """Show that a run goes on here which a command that is gone had begun."""
        self.note(f"{_title(job)}: {holder} had begun it and is gone; it is done here.")

    def _tell_of_all(self, now: float) -> None:
        """Show in one line how far many runs are, unless that was shown a moment ago."""
        if now - self._told_at < _CALM_SECONDS:
            return
        self._told_at = now
        left = time_left(self._left_in_all(now))
        stopping = sum(shown.progress.stopping for shown in self._runs.values())
        what = f"{stopping} finish their epochs (Ctrl-C again stops at once)" if stopping else left
        self.note(f"  {self._settled} of {self.total} runs done, {len(self._runs)} going on{what and '; ' + what}")

    def _left_in_all(self, now: float) -> float | None:
        """Return seconds until all runs are done: the present ones', and the others at the mean of those done."""
        present = {key: shown.progress.left(now) for key, shown in self._runs.items()}
        remaining = {key: seconds for key, seconds in present.items() if seconds is not None}
        if not remaining or any(shown.progress.stopping for shown in self._runs.values()):
            return None
        others = max(0, self.total - self._settled - len(remaining))
        expected = [now - self._runs[key].began + seconds for key, seconds in remaining.items()]
        each = self._taken / self._ended if self._ended else sum(expected) / len(expected)
        whole = sum(remaining.values()) + others * each
        return max(max(remaining.values()), whole / len(self._runs))

    def _show_all(self) -> None:
        now = time.monotonic()
        many = len(self._runs) > _SHOWN_ALONE
        if self.live and self._all is not None and not (many and now - self._told_at < 1.0):
            self._told_at = now
            left = time_left(self._left_in_all(now))
            state = f"{self._settled} of {self.total} done" + (f" · {left}" if left else "")
            self._progress.update(self._all, completed=self._settled, state=state)


def show_answers(console: Console, answers: Sequence[str]) -> None:
    """Print the board's answer, a sentence a line, with room around it."""
    if answers:
        console.print()
    for sentence in answers:
        tell(console, plain(sentence))


def show_summary(console: Console, summary: Summary, board: Path | None, answers: Sequence[str] = ()) -> None:
    """Print the rows, what went wrong, the board's answer, and where it is (``None`` where none was written)."""
    if summary.finished:
        table = Table(box=None, pad_edge=False)
        folded = any(row.job.data.fold is not None for row in summary.finished)
        crossed = len({run.job.data.name for run in summary.finished}) > 1
        columns = {"backbone": "left", **({"data": "left"} if crossed else {}), "seed": "right"}
        columns |= {**({"fold": "right"} if folded else {}), "status": "left"}
        for heading, side in {**columns, "macro-F1": "right", "time": "right"}.items():
            table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
        best_first = sorted(
            summary.finished, key=lambda run: -1 if run.macro_f1 is None else run.macro_f1, reverse=True
        )
        for run in best_first:
            score = "" if run.macro_f1 is None else f"{run.macro_f1:.3f}"
            status = f"{run.outcome} (kept)" if run.kept else str(run.outcome)
            name, seconds = escape(run.job.run.backbone), clock(run.seconds)
            fold = [str(run.job.data.fold or "")] if folded else []
            data = [escape(run.job.data.name)] if crossed else []
            table.add_row(name, *data, str(run.job.run.seed), *fold, status, score, seconds)
        console.print()
        console.print(table)
    for run in summary.finished:
        if run.outcome not in (Outcome.OK, Outcome.INTERRUPTED):  # who stops a run needs no reason
            log = f" Log: {run.job.log}" if run.job.log.exists() else ""
            stands = " Its earlier result stands." if run.stands else ""
            sentence = f"{_title(run.job)}: {run.outcome}: {run.reason}{stands}{log}"
            tell(console, plain(sentence))
            for line in run.log_tail:
                tell(console, f"    | {line}")
            tell(console, f"    {run.outcome.advice}")
    for problem in summary.problems:
        tell(console, plain(problem))
    missing = summary.planned - len(summary.finished)
    if summary.interrupted:
        rest = f" {missing} of {summary.planned} runs were not reached." if missing else ""
        tell(console, f"Interrupted.{rest} Give the same command again to go on from here.")
    show_answers(console, answers)
    if board is not None:
        console.print(f"Leaderboard: {escape(str(board))}", highlight=False, soft_wrap=True)


def _title(job: Job) -> str:
    fold = "" if job.data.fold is None else f", fold {job.data.fold} of {job.data.folds}"
    return f"{job.run.backbone}, seed {job.run.seed}{fold}"


def _result(run: FinishedRun) -> str:
    """Return how a run ended in a few words."""
    if run.macro_f1 is not None:
        fell = ", without the weights that were asked for" if run.record.weights.fell_back else ""
        return f"ok, macro-F1 {run.macro_f1:.3f}{fell}"
    if run.record.outcome is Outcome.INTERRUPTED:
        return plain(run.record.reason).rstrip(".").lower() or str(run.record.outcome)
    return str(run.record.outcome) + (f": {plain(run.record.reason)}" if run.record.reason else "")
