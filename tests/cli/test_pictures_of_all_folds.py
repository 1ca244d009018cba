"""Every test image of every fold has its picture on the page, also where folders and data sets are put together."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli.run import make_ready, write_board
from benchmark.data.preparation.prepare import load_prepared
from benchmark.data.splits.files import load_split
from benchmark.data.splits.splits import SplitOptions
from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.worker.job import Job
from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import write_leaderboard
from tests.execution.commands import GOOD, make_images, request_on
from tests.execution.samples import a_record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample less, and draw no figures: the page is what is looked at."""
    monkeypatch.setattr("benchmark.evaluation.statistics.Bootstrap", partial(Bootstrap, resamples=100))
    for place in ("figures.plots.write_plots", "figures.cams.write_cam_plots", "documents.gallery.write_gallery"):
        monkeypatch.setattr(f"benchmark.reporting.{place}", lambda *_: None)


def a_run_of(job: Job) -> tuple[Record, Predictions]:
    """Return what a run of a plan could have left: predictions of its fold's images."""
    data, split = load_prepared(job.data_folder), load_split(job.split_file)
    positions = np.concatenate([split.validation, split.test])
    labels = data.labels[positions]
    draws = np.random.default_rng(job.run.seed).dirichlet(np.ones(2), len(labels))
    order = np.argsort(data.image_ids[positions])
    predictions = Predictions(
        image_ids=data.image_ids[positions][order],
        parts=np.repeat(["validation", "test"], [len(split.validation), len(split.test)])[order],
        labels=labels[order],
        groups=np.full(len(labels), ""),
        probabilities=draws.astype(np.float32)[order],
    )
    facts = {
        "key": job.key, "identity": job.run.identity(), "data": job.data, "seed": job.run.seed,
        "backbone": job.backbone, "recipe_name": job.recipe_name,
    }  # fmt: skip
    return a_record().model_copy(update=facts), predictions


def board_of_folds(folder: Path, per_class: int) -> Path:
    """Write the board of all folds of a data set, two seeds each, as the command does when its runs are done."""
    folder.mkdir()
    images = make_images(folder / "lab" / "images", per_class)  # a data set is called by its last two folders
    asked = request_on(images, folder, GOOD, size=16)
    plan = make_plan(replace(asked, split=SplitOptions("folds", folds="all"), seeds=(0, 1)))
    assert len(plan.jobs) == 10
    make_ready(plan.out)
    plan.images.save(plan.out)
    for job in plan.jobs:
        RecordStore(plan.out).write(*a_run_of(job))
    written, problems = write_board(plan, lambda *_: None)
    assert written is not None
    assert problems == ()
    return plan.out


def groups_of(page: Path) -> list[dict[str, Any]]:
    """Return what the page holds of each comparison group."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return list(json.loads(found[1]))


def test_pictures_are_kept_of_all_folds_and_follow_into_a_board_of_several_folders(tmp_path: Path) -> None:
    folders = [board_of_folds(tmp_path / name, per_class) for name, per_class in (("one", 6), ("two", 7))]
    for folder, images in zip(folders, (36, 42), strict=True):
        (group,) = groups_of(folder / "leaderboard.html")
        assert len(group["images"]) == images
        assert sorted(map(int, group["thumbnails"])) == list(range(images))
    merged = write_leaderboard(tmp_path / "merged", folders)
    both = groups_of(merged.page)
    assert len({row.values["data"] for row in merged.board.rows}) == 1, "two data sets of one name"
    assert sorted(len(group["images"]) for group in both) == [36, 42]
    for group in both:
        assert len(group["thumbnails"]) == len(group["images"])
