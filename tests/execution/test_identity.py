"""A run's identity, pinned: a key that changes by accident would throw away every stored result."""

from dataclasses import fields
from typing import Any

import pytest

from benchmark.execution.planning.weights import Weights
from benchmark.execution.worker.job import Job
from benchmark.recipe import Recipe, field_names
from benchmark.records.record import BackboneFacts
from benchmark.records.run import PROTOCOL_VERSION, Run
from benchmark.records.settings import Settings
from tests.execution.samples import a_record

# Every field away from its default. A new recipe field has to be added here, away from its default too.
OTHER_VALUES: dict[str, Any] = {
    "epochs": 7,
    "batch_size": 48,
    "size": 96,
    "resize": "pad",
    "preprocessing": "unit",
    "validation_fraction": 0.2,
    "trainable_from": "head",
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.05,
    "optimizer.head_learning_rate_factor": 10.0,
    "optimizer.beta1": 0.8,
    "optimizer.beta2": 0.95,
    "optimizer.epsilon": 1e-7,
    "optimizer.epsilon_inside": True,
    "optimizer.momentum": 0.8,
    "optimizer.nesterov": True,
    "optimizer.weight_decay": 0.0005,
    "optimizer.decay_norms_and_biases": True,
    "optimizer.clip_norm": 1.5,
    "optimizer.layer_decay": 0.8,
    "optimizer.decoupled_decay": True,
    "schedule.name": "warmup_exponential",
    "schedule.warmup": 0.1,
    "schedule.start_factor": 0.2,
    "schedule.end_factor": 0.001,
    "schedule.warmup_epochs": 3,
    "schedule.decay": 0.7,
    "schedule.plateau_patience": 9,
    "schedule.plateau_factor": 0.3,
    "schedule.plateau_min_delta": 0.01,
    "loss.label_smoothing": 0.1,
    "loss.class_weights": {"glioma": 2.0, "notumor": 0.5},
    "loss.class_weight_normalization": "weights",
    "loss.focal_gamma": 2.0,
    "regularization.l1": 0.01,
    "regularization.l2": 0.02,
    "regularization.kernels": "conv",
    "augmentation.flip_horizontal": True,
    "augmentation.flip_vertical": True,
    "augmentation.rotation": 0.2,
    "augmentation.translation": 0.1,
    "augmentation.zoom": 0.15,
    "augmentation.brightness": 0.25,
    "augmentation.contrast": 0.3,
    "augmentation.noise": 0.05,
    "augmentation.bias_field": 0.4,
    "augmentation.brightness_bug": True,
    "initialization": "he",
    "ema.decay": 0.99,
    "ema.warmup": False,
    "head.kind": "dense256",
    "head.pooling": "max",
    "head.dropout": 0.3,
    "batch_norm.momentum": 0.01,
    "batch_norm.variance": "biased",
    "early_stopping.patience": 4,
    "early_stopping.restore_best": False,
    "early_stopping.monitor": "val_macro_f1",
    "execution.precision": "bfloat16",
    "execution.tf32": True,
    "execution.channels_last": "on",
    "execution.compile": "off",
    "execution.deterministic": True,
    "execution.accumulate": 3,
    "testing.flips": "horizontal",
    "execution.threads": 1,
    "tuning.learning_rates": (0.01, 0.02),
}
GOLDEN = "2e6c33b140cf267a46692508b5903950380ba486ee460b1ae665ff22cc6d3ffe"


# what a recipe has for single families is put in its place before a run is made
FIELDS = [name for name in field_names() if name != "families"]


# fields that came later: at what was done before there were such, a key is what it was
ADDED = {"early_stopping.monitor": "val_loss", "execution.threads": "auto", "testing.flips": "none"}


def the_run(**changes: Any) -> Run:
    return Run(
        backbone="timm/résnet",
        backbone_source="a" * 64,
        recipe=Recipe().with_values({**OTHER_VALUES, **changes}),
        data_fingerprint="b" * 64,
        images_hash="c" * 64,
        split_hash="d" * 64,
        seed=3,
        engine="tensorflow",
        device_kind="cuda",
        precision="bfloat16",
        weights="imagenet:timm/resnet50.a1_in1k@1234",
        init_from="e" * 64,
    )


def test_every_recipe_field_is_away_from_its_default() -> None:
    assert set(OTHER_VALUES) == set(FIELDS), "name the new field here, with a value that is not its default"
    default = Recipe()
    for dotted, value in OTHER_VALUES.items():
        section: Any = default
        for part in dotted.split("."):
            section = getattr(section, part)
        assert section != value, dotted


def test_the_key_is_what_it_was() -> None:
    """A failure here means that stored results are not found again: raise PROTOCOL_VERSION if that is meant."""
    assert the_run(**ADDED).key == GOLDEN


@pytest.mark.parametrize("name", [field.name for field in fields(Run)])
def test_each_field_of_a_run_changes_the_key(name: str) -> None:
    other = Recipe() if name == "recipe" else 4 if name == "seed" else "other"
    assert Run(**{**vars(the_run()), name: other}).key != the_run().key


@pytest.mark.parametrize("dotted", FIELDS)
def test_each_field_of_the_recipe_changes_the_key(dotted: str) -> None:
    default: Any = Recipe()
    for part in dotted.split("."):
        default = getattr(default, part)
    values = {**OTHER_VALUES, dotted: default}
    if dotted in ("execution.precision", "execution.channels_last", "execution.compile"):
        values[dotted] = {"precision": "float16", "channels_last": "off", "compile": "on"}[dotted.split(".")[1]]
    if dotted == "head.kind":
        values[dotted] = "linear"
    if dotted == "augmentation.brightness":  # of which there must be some for its bug
        values[dotted] = 0.5
    changed = Recipe().with_values(values)
    assert Run(**{**vars(the_run()), "recipe": changed}).key != the_run().key


def test_the_protocol_version_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = the_run().key
    monkeypatch.setattr("benchmark.records.run.PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
    assert the_run().key != before


def test_a_job_keeps_the_key_through_json(tmp_path: Any) -> None:
    record = a_record()
    job = Job(
        run=the_run(), recipe_name="x", backbone=BackboneFacts(name="n", framework="torch", library="own"),
        data=record.data, weights=Weights(policy="none", requested="none", used="none"),
        settings=Settings(plugins=(tmp_path / "p.py",), oom="accumulate"), device="cpu",
        data_folder=tmp_path, split_file=tmp_path, out=tmp_path, command="c",
    )  # fmt: skip
    again = Job.model_validate_json(job.model_dump_json())
    assert again.key == job.key
    assert again == job
