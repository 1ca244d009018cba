"""The request: what the user asked for, as one record, before anything is resolved."""

import shlex
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.data.options import DataOptions, take_options
from benchmark.data.splits.splits import SplitOptions
from benchmark.errors import UserError
from benchmark.execution.executors.table import ON_CLUSTERS, executor_entry
from benchmark.execution.planning.cluster import Cluster, cluster_of
from benchmark.records.settings import Settings

PHANTOM = "phantom"
# One split for all seeds, so that a seed varies the training and never the images that judge it.
SPLIT_SEED = 0

# options of the command line that change one recipe field
_FIELDS = {
    "size": "size",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "learning_rate": "optimizer.learning_rate",
}


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``None`` and nothing leave the choice to the plan.

    Args:
        backbones: names of backbones, ``timm:NAME`` and ``keras:NAME`` included; with a suite, those of its backbones
            that are wanted.
        all: every registered backbone as well.
        suite: name or path.
        entries: the entries of the suite that are wanted, all of them where none is named.
        data: which images; size and resize rule are the recipe's.
        cross: sources of a cross test, each trained on and each tested on; ``data`` then has what they share.
        split: how they are split; the validation fraction is the recipe's, the folds may be a suite's.
        recipe: name or path.
        changes: dotted recipe fields and their values; they change every recipe of a suite too.
        seeds: none leaves them to the suite; without one it is 0, and more where they cost little
            (:mod:`~benchmark.execution.planning.further_seeds`).
        weights: ``imagenet``, ``local``, ``none`` or a path.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: results folder.
        timeout: seconds for one run.
        rerun: do again what is done.
        rerun_speeds: measure the speeds of what is done anew.
        only_failed: do only what was tried and failed.
        dry_run: show the plan and how long it may take, and do nothing.
        executor: name of what runs the workers.
        cluster: what each worker asks for, where they are not this machine's.
        detach: leave the runs to the executor's queue, and do not wait for them.
        settings: the choices that every run gets unchanged.
        command: what was typed, for the record.
        track: which trackers are told what happens, as ``--track`` names them.
    """

    backbones: tuple[str, ...] = ()
    all: bool = False
    suite: str | None = None
    entries: tuple[str, ...] = ()
    data: DataOptions = field(default_factory=DataOptions)
    cross: tuple[str, ...] = ()
    split: SplitOptions = field(default_factory=SplitOptions)
    recipe: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    weights: str | None = None
    device: str = "auto"
    out: Path | None = None
    timeout: float | None = None
    rerun: bool = False
    rerun_speeds: bool = False
    only_failed: bool = False
    dry_run: bool = False
    executor: str = "local"
    cluster: Cluster = field(default_factory=Cluster)
    detach: bool = False
    settings: Settings = field(default_factory=Settings)
    command: str = ""
    track: tuple[str, ...] = ()


def request_of(options: dict[str, Any]) -> Request:
    """Return the request that the main command's options make, by the names under which click gives them.

    Raises:
        UserError: an option whose value can't be read.
    """
    changes = dict(parse_setting(text) for text in options.pop("settings"))
    for option, dotted in _FIELDS.items():
        value = options.pop(option)
        if value is not None:
            changes[dotted] = value
    sources, cross = options.pop("data"), options.pop("cross")
    data, split = take_options(options, source=sources[0], size=0, seed=SPLIT_SEED)
    crossed = crossed_sources(sources, data, split, cross=cross)
    executor = executor_entry(options.pop("executor")).name
    cluster = cluster_of(options.pop("cluster"), executor, options.pop("ray_address"), ON_CLUSTERS)
    if options["detach"] and not executor_entry(executor).workers_claim:
        raise UserError("--detach leaves runs to a queue that goes on without the command: add --executor slurm.")
    command = shlex.join(["python", "-m", "benchmark", *sys.argv[1:]])
    try:
        settings = Settings(**{name: options.pop(name) for name in Settings.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg'].removeprefix('Value error, ')}."
        ) from None
    return Request(
        data=data, cross=crossed, split=split, changes=changes, executor=executor, cluster=cluster,
        settings=settings, command=command, **options,
    )  # fmt: skip


def crossed_sources(
    sources: Sequence[str], data: DataOptions, split: SplitOptions, *, cross: bool
) -> tuple[str, ...]:
    """Return the sources of a cross test, none without one.

    Raises:
        UserError: several sources without a cross test; or with one fewer than two, one named twice, or options that
            it has no place for.
    """
    if not cross:
        if len(sources) != 1:
            raise UserError(f"--data names {len(sources)} sources: give --cross to train on each and test on each.")
        return ()
    if len(sources) < 2:
        raise UserError("--cross needs at least two sources, such as --data A B --cross.")
    twice = [source for source, count in Counter(sources).items() if count > 1]
    if twice:
        raise UserError(f"--cross: '{twice[0]}' is named twice.")
    if data.test_data is not None:
        raise UserError("--cross tests each set on each other one: leave --test-data out, or name it in --data.")
    if split.folds is not None or split.kind in ("folds", "slice"):
        raise UserError("--cross tests each set by its own one split: leave --folds out, and --split folds or slice.")
    return tuple(sources)


def parse_setting(text: str) -> tuple[str, Any]:
    """Return ``field=value`` as a pair; the value is read as TOML, a bare word as itself, ``none`` as None."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--set {text}: give a field and a value, such as --set schedule.name=cosine.")
    if value.strip().lower() == "none" and name.strip() != "loss.class_weights":
        return name.strip(), None
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # a word, or what the recipe will refuse
        return name.strip(), value.strip()
