"""The shipped suites that repeat the seed notebook and go on from it."""

import csv
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.options import DataOptions
from benchmark.data.splits.splits import SplitOptions
from benchmark.execution.planning.plan import Plan, make_plan
from benchmark.execution.planning.request import Request
from benchmark.recipe.suite import load_suite

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook") / "images"
    random = np.random.default_rng(0)
    for part, count in (("Training", 20), ("Testing", 2)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def plan(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    out = tmp_path_factory.mktemp("out")
    return make_plan(Request(suite="seed-notebook", data=DataOptions(str(pictures)), device="cpu", out=out))


def test_every_experiment_of_the_notebook_is_there_twice_and_identical_runs_once(plan: Plan) -> None:
    suite = load_suite("seed-notebook")
    assert suite.reference is not None
    with (suite.folder / suite.reference).open(encoding="utf-8", newline="") as stream:
        experiments = [line["id"] for line in csv.DictReader(stream)]
    expected = [f"{name}, {how}" for name in experiments for how in ("as written", "corrected")]
    assert [entry.name for entry in suite.entries] == expected
    assert [entry.reference for entry in suite.entries] == [name for name in experiments for _ in range(2)]
    assert Counter(job.run.backbone for job in plan.jobs) == {"keras/baseline_cnn": 9, "keras/resnet50": 8}


def test_only_its_two_mistakes_are_corrected(plan: Plan) -> None:
    recipes = {job.recipe_name: job.run.recipe for job in plan.jobs}
    for name, recipe in recipes.items():
        if not name.endswith(", as written"):
            continue
        corrected = recipes[name.replace("as written", "corrected")]
        mended = {"augmentation.brightness_bug": False} if "brightness" in name else {"preprocessing": "declared"}
        assert recipe.with_values(mended) == corrected
        assert recipe != corrected
    brightness = recipes["brightness, corrected"].augmentation
    assert (brightness.brightness, brightness.brightness_bug) == (0.2, False)
    assert recipes["resnet50_from_100, as written"].trainable_from == "100"
    schedule = recipes["schedule, as written = corrected"]
    assert schedule.optimizer.learning_rate * schedule.schedule.start_factor == pytest.approx(1e-6)
    assert schedule.early_stopping.restore_best


def test_the_best_of_the_notebook_continues_from_the_one_before(plan: Plan, pictures: Path) -> None:
    jobs = {job.recipe_name: job for job in plan.jobs}
    order = list(jobs)
    for how in ("as written", "corrected"):
        child, parent = jobs[f"resnet50_schedule, {how}"], jobs[f"resnet50_all, {how}"]
        assert child.run.init_from == parent.key
        assert child.initial_weights == parent.final_weights
        assert parent.keep_final
        assert order.index(parent.recipe_name) < order.index(child.recipe_name)
    only = Request(
        suite="seed-notebook", entries=("resnet50_schedule", "flip"), data=DataOptions(str(pictures)), device="cpu"
    )
    assert [job.recipe_name for job in make_plan(replace(only, out=plan.out)).jobs] == [
        "resnet50_all, as written", "resnet50_schedule, as written",
        "resnet50_all, corrected", "resnet50_schedule, corrected",
        "flip, as written = corrected",
    ]  # fmt: skip


def test_the_further_steps_are_other_networks_under_the_same_recipes(plan: Plan, pictures: Path) -> None:
    further = make_plan(Request(suite="further-steps", data=DataOptions(str(pictures)), device="cpu", out=plan.out))
    assert Counter(job.run.backbone for job in further.jobs) == {"keras/vgg16": 4, "keras/efficientnet_b0": 4}
    assert further.for_gpu == {job.key for job in further.jobs}
    of_resnet = {job.recipe_name: job.run.recipe for job in plan.jobs}
    for job in further.jobs:
        name = job.recipe_name.partition(",")[0].replace("from the middle", "from_100")
        as_resnet = of_resnet[f"resnet50_{name}, corrected"]
        assert job.run.recipe == as_resnet.with_values({"trainable_from": job.run.recipe.trainable_from})


def test_what_takes_long_without_a_gpu_is_marked(plan: Plan, pictures: Path) -> None:
    assert plan.for_gpu == {job.key for job in plan.jobs if job.run.backbone == "keras/resnet50"}
    assert any("8 of 17 runs" in note and "meant for a GPU" in note for note in plan.notes)
    few = Request(
        suite="seed-notebook", data=DataOptions(str(pictures)), split=SplitOptions(limit=40), device="cpu",
        out=plan.out,
    )  # fmt: skip
    assert not any("meant for a GPU" in note for note in make_plan(few).notes)


def test_the_suite_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```toml\n# suite\n(backbones = .*?)```", page, re.DOTALL)
    (tmp_path / "mine.toml").write_text(example)
    suite = load_suite(str(tmp_path / "mine.toml"))
    assert [entry.name for entry in suite.entries] == ["plain", "gentle", "gentle, heavier", "in two steps"]
    assert suite.entries[2].changes == {**suite.entries[1].changes, "optimizer.weight_decay": 0.1}
    assert suite.entries[3].init_from == "gentle"
