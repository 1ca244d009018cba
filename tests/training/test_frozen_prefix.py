"""The outputs of frozen stages are computed once, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import HALF, Backbone
from benchmark.engines import BuildSpec, create
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training import feature_cache
from benchmark.training.checkpoints import Checkpoints
from tests.engines.torch_small import convolutions
from tests.training.frozen import COUNT, Built, data, exact_and_computed_once, recipe, run, same, split


def in_place(num_classes: int) -> Any:
    """The second stage begins with an activation that overwrites its input."""
    from torch import nn

    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, num_classes)),
    )


def builder(network: Callable[..., Any] | Backbone = convolutions, seed: int = 0) -> Callable[[Recipe], Built]:
    def build(chosen: Recipe) -> Built:
        backbone = network if isinstance(network, Backbone) else Backbone("own/small", "torch", network)
        engine = create("torch", "cpu", tf32=False, deterministic=False)
        return engine, engine.build(BuildSpec(backbone, chosen, 3, 16, None, seed))

    return build


@pytest.mark.parametrize(
    ("network", "changes", "through"),
    [
        (convolutions, {"trainable_from": "head"}, "1"),
        (convolutions, {"trainable_from": "head", "head__kind": "dense256", "head__dropout": 0.4}, "average pooling"),
        (convolutions, {"trainable_from": "1", "execution__accumulate": 2}, "0"),
        (convolutions, {"trainable_from": "1", "execution__channels_last": "off", "ema__decay": 0.8}, "0"),
        (in_place, {"trainable_from": "1"}, "0"),
    ],
    ids=["head", "new-head", "mid-stage-in-parts", "mid-stage-averaged", "in-place"],
)
def test_the_result_is_the_same_and_each_image_is_computed_once(
    network: Callable[..., Any], changes: dict[str, Any], through: str, tmp_path: Path
) -> None:
    exact_and_computed_once(builder(network), recipe(**changes), tmp_path, through)


def test_a_timm_network_trained_from_a_block(tmp_path: Path) -> None:
    from backbones.registry import load_registry

    build = builder(load_registry().get("timm:resnet10t"))
    exact_and_computed_once(build, recipe(trainable_from="layer4", epochs=2), tmp_path, "layer3")


def test_bfloat16_is_kept_bit_for_bit(tmp_path: Path) -> None:
    chosen = recipe(trainable_from="1", execution__precision="bfloat16")
    plain, kept = run(builder(), None, chosen), run(builder(), tmp_path, chosen)
    again = run(builder(), tmp_path, chosen)
    assert again.feature_cache["reused"] == COUNT
    same(plain, kept, 1e-2)
    same(kept, again, 1e-6)


def test_folds_recipes_and_heads_share_the_rows_and_another_network_does_not(tmp_path: Path) -> None:
    first = run(builder(), tmp_path, recipe(trainable_from="head"))
    new = run(builder(), tmp_path, recipe(trainable_from="head", head__kind="dense256", head__dropout=0.2))
    assert first.feature_cache["computed"] == new.feature_cache["computed"] == COUNT
    for head in ({}, {"head.kind": "linear"}):
        shared = {"trainable_from": "head", "optimizer.name": "sgd", "epochs": 1, **head}
        fold = run(builder(), tmp_path, recipe(**shared), split=split(1))
        assert (fold.feature_cache["computed"], fold.feature_cache["reused"]) == (0, COUNT)
    for other in (
        run(builder(seed=1), tmp_path, recipe(trainable_from="head", epochs=1)),
        run(builder(), tmp_path, recipe(trainable_from="1", epochs=1)),
        run(builder(), tmp_path, recipe(trainable_from="head", head__kind="linear", head__pooling="max", epochs=1)),
        run(builder(), tmp_path, recipe(trainable_from="head", epochs=1, resize="pad")),
        run(builder(), tmp_path, recipe(trainable_from="head", epochs=1), data=data(fingerprint="e" * 64)),
        run(builder(), tmp_path, recipe(trainable_from="head", epochs=1), origin={"torch": "another"}),
        run(builder(Backbone("own/small", "torch", convolutions, preprocessing=HALF)), tmp_path,
            recipe(trainable_from="head", epochs=1)),
    ):  # fmt: skip
        assert other.feature_cache["computed"] == COUNT


def test_the_same_images_in_another_order_are_not_mixed_up(tmp_path: Path) -> None:
    chosen = recipe(trainable_from="head")
    run(builder(), tmp_path, chosen)
    order = np.random.default_rng(1).permutation(COUNT)
    images = data()
    turned = data(pixels=images.pixels[order], labels=images.labels[order], image_ids=images.image_ids[order])
    kept = run(builder(), tmp_path, chosen, data=turned)
    assert kept.feature_cache["computed"] == COUNT
    same(run(builder(), None, chosen, data=turned), kept)


def test_rows_that_are_wrong_are_found_out_and_computed_anew(tmp_path: Path) -> None:
    chosen = recipe(trainable_from="head")
    first = run(builder(), tmp_path, chosen)
    [rows] = tmp_path.glob("*/rows.bin")
    values = np.fromfile(rows, dtype=np.float32)
    (values * 1.01).tofile(rows)
    told: list[Any] = []
    again = run(builder(), tmp_path, chosen, report=told.append)
    assert again.feature_cache["computed"] == COUNT
    assert any("were wrong; they are computed again" in event.get("note", "") for event in told)
    same(first, again)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trainable_from": "all"}, "nothing is frozen"),
        ({"trainable_from": "head", "augmentation__rotation": 0.1}, "varied in each epoch"),
    ],
)
def test_where_nothing_can_be_kept_nothing_is_and_the_record_says_why(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    done = run(builder(), tmp_path, recipe(epochs=1, **changes))
    assert not done.feature_cache["cached"]
    assert reason in done.feature_cache["reason"]
    assert not list(tmp_path.iterdir())


def test_chance_before_the_boundary_is_noticed(tmp_path: Path) -> None:
    def random(num_classes: int) -> Any:
        from torch import nn
        from torch.nn import functional

        class Always(nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return functional.dropout(x, 0.5, training=True)

        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3), Always()), nn.Flatten(), nn.Linear(8 * 196, num_classes)
        )

    done = run(builder(random), tmp_path, recipe(trainable_from="head", epochs=1))
    assert "chance" in done.feature_cache["reason"]


def test_too_small_a_budget_costs_time_and_nothing_else(tmp_path: Path) -> None:
    chosen = recipe(trainable_from="head")
    told: list[Any] = []
    done = run(builder(), tmp_path, chosen, budget=1000, report=told.append)
    assert "--cache-budget" in done.feature_cache["reason"]
    assert any("computed again in each epoch" in event.get("note", "") for event in told)
    assert done.train_images_per_s is not None
    same(run(builder(), None, chosen), done, 1e-7)


def test_a_run_stopped_while_it_computes_rows_or_later_goes_on_to_the_same_result(tmp_path: Path) -> None:
    chosen, checkpoints = recipe(trainable_from="head"), Checkpoints(tmp_path / "run")
    whole = run(builder(), None, chosen)
    cache = tmp_path / "cache"
    told: list[Any] = []
    for stop in (
        lambda: sum("frozen stages" in str(event.get("phase")) for event in told) == 3,
        lambda: any(event["event"] == "epoch" for event in told),
    ):
        with pytest.raises(RunFailure, match="Stopped ") as stopped:
            run(builder(), cache, chosen, checkpoints=checkpoints, should_stop=stop, report=told.append)
        assert stopped.value.outcome is Outcome.INTERRUPTED
    resumed = run(builder(), cache, chosen, checkpoints=checkpoints)
    assert (resumed.resumed_from, resumed.feature_cache["reused"]) == (1, COUNT)
    same(whole, resumed)


def test_too_little_memory_for_the_frozen_stages_takes_smaller_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.engines.shared import out_of_memory
    from benchmark.engines.torch.engine import TorchEngine

    plain = run(builder(), None, recipe(trainable_from="head", execution__accumulate=4))
    whole = TorchEngine.compute_features

    def small(self: Any, inputs: Any) -> Any:
        if len(inputs) > 4:
            raise out_of_memory()
        return whole(self, inputs)

    monkeypatch.setattr(TorchEngine, "compute_features", small)
    monkeypatch.setattr(feature_cache, "_CHECKED", 2)
    done = run(builder(), tmp_path, recipe(trainable_from="head"), oom="accumulate")
    assert done.feature_cache["computed"] == COUNT
    assert done.execution["batch"].startswith("9, computed in 4 parts")
    same(plain, done)
