"""The command ``status``: what is queued, running, done and failed in a results folder."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.json_output import json_option, print_json
from benchmark.text import aligned, plain, shown

if TYPE_CHECKING:
    from benchmark.execution.status import RunStatus


@click.command("status")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def status_command(folder: Path, as_json: bool) -> None:
    """Say what is queued, running, stopped, failed and done in a results folder, and for how long.

    It looks at the files of the folder, and at your jobs in Slurm's queue where you submitted any; whatever does the
    runs, here or elsewhere, is left alone.
    """
    from benchmark.execution.status import State, status_of

    runs = status_of(folder)
    counts = Counter(run.state for run in runs)
    counted = {str(state): counts[state] for state in State}
    if as_json:
        print_json({"folder": str(folder), "counts": counted, "runs": [asdict(run) for run in runs]})
        return
    for line in aligned([(str(run.state), _name(run), _how_far(run), _clock(run)) for run in runs]):
        click.echo(shown(line))
    parts = [f"{count} {state}" for state, count in counted.items() if count]
    click.echo(", ".join(parts) + "." if parts else "No run was begun in this folder.")


def _name(run: "RunStatus") -> str:
    fold = "" if run.fold is None else f", fold {run.fold}"
    return plain(f"{run.backbone}, seed {run.seed}{fold}" if run.backbone else f"run {run.key}")


def _how_far(run: "RunStatus") -> str:
    epoch = "" if run.epoch is None else f"epoch {run.epoch}" + ("" if run.epochs is None else f"/{run.epochs}")
    outcome = "" if run.outcome is None or run.outcome == "ok" else f"{run.outcome}: {run.reason}"
    job = f"job {run.job}" if run.job else ""
    return plain(", ".join(filter(None, (epoch or run.phase, job, run.where, outcome))))


def _clock(run: "RunStatus") -> str:
    from benchmark.execution.progress import clock

    return "" if run.seconds is None else clock(run.seconds)
