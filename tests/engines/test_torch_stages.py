"""Stages of torch networks: found, proven, and refused where they can't be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backbones import Backbone
from backbones.registry import load_registry
from benchmark.draws.initialization import glorot_uniform
from benchmark.records.outcomes import Outcome, RunFailure
from tests.engines.torch_small import CLASSES, SIZE, built, changed, convolutions, images, logits, train


@pytest.mark.parametrize(
    ("name", "size", "stages"),
    [
        ("torch/baseline_cnn", 32, ("conv1", "conv2", "conv3", "head")),
        ("timm/resnet50", 64, ("conv1", "layer1.0", "layer4.2", "head")),
        ("timm/vgg16", 32, ("features.0", "features.2", "features.28", "head")),
        ("timm/efficientnet_b0", 64, ("conv_stem", "blocks.0.0", "blocks.6.0", "conv_head", "head")),
        ("timm/tf_efficientnet_lite0", 64, ("conv_stem", "blocks.0.0", "blocks.6.0", "conv_head", "head")),
    ],
)
def test_stages_of_the_built_in_networks_are_proven(name: str, size: int, stages: tuple[str, ...]) -> None:
    engine, network = built(load_registry().get(name), size=size)
    assert network.stages_unverified == ""
    assert network.stages_verified
    assert [stage for stage in network.stages if stage in stages] == list(stages)
    assert logits(engine, images(2, size)).shape == (2, CLASSES)


def test_a_name_may_stand_for_the_first_of_its_stages() -> None:
    backbone = load_registry().get("timm:resnet10t")
    _, network = built(backbone, size=32, trainable_from="layer4")
    assert {name.partition("/")[0] for name in network.trainable_names} == {"layer4.0", "head"}


@pytest.mark.parametrize("cut", range(1, 18))
def test_no_stage_of_resnet50_changes_its_input(cut: int, resnet: Any) -> None:
    """What a cache of the prefix relies on."""
    import torch

    stages = resnet._network.stages
    x = resnet.normalize(resnet.upload(images(2, 64)))
    with torch.no_grad():
        for stage in stages[:cut]:
            x = stage.call(x, False)
        kept = x.clone()
        y = x
        for stage in stages[cut:]:
            y = stage.call(y, False)
    assert x.equal(kept)


@pytest.fixture(scope="module")
def resnet() -> Any:
    return built(load_registry().get("timm/resnet50"), size=64)[0]


def in_place_start(num_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(4)), nn.Flatten(),
        nn.Linear(4 * SIZE, num_classes),
    )  # fmt: skip


def test_an_in_place_activation_at_the_start_of_a_stage_is_switched_off() -> None:
    engine, network = built(in_place_start)
    assert network.stages_verified
    assert network.stages == ("0", "1", "2", "head")
    x = engine._network.stages[0].call(engine.normalize(engine.upload(images())), False)
    kept = x.clone()
    engine._network.stages[1].call(x, False)
    assert x.equal(kept)


class _Nets:
    """Networks that are awkward to cut. Functions, so that torch is imported by the test alone."""

    @staticmethod
    def functional_dropout(num_classes: int) -> Any:
        """The mode is read outside any module: a graph would fix it."""
        from torch import nn
        from torch.nn import functional

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.head = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(64, num_classes)

            def forward(self, x: Any) -> Any:
                return self.head(functional.dropout(self.body(x).flatten(1), 0.5, self.training))

        return Net()

    @staticmethod
    def decides_by_value(num_classes: int) -> Any:
        """Python's ``if`` on a tensor can't be traced."""
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.head = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(64, num_classes)

            def forward(self, x: Any) -> Any:
                y = self.body(x)
                return self.head(y.flatten(1) if y.sum() > -1e9 else -y.flatten(1))

        return Net()

    @staticmethod
    def one_weight_twice(num_classes: int) -> Any:
        """A convolution is called at two places: what lies between belongs together."""
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.twice = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 3, padding=1)
                self.between, self.head = nn.Conv2d(4, 4, 1), nn.Linear(64, num_classes)

            def forward(self, x: Any) -> Any:
                y = self.twice(self.between(self.twice(self.stem(x))))
                return self.head(y.flatten(1))

        return Net()

    @staticmethod
    def pooled(num_classes: int) -> Any:
        """The usual network: features, pooling, classifier."""
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
                self.act, self.pool, self.head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(6, num_classes)

            def forward(self, x: Any) -> Any:
                return self.head(self.pool(self.act(self.second(self.act(self.first(x))))).flatten(1))

        return Net()

    @staticmethod
    def two_methods(num_classes: int) -> Any:
        """timm's protocol, untraceable features."""
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.norm = nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4)
                self.drop, self.fc = nn.Dropout(0.5), nn.Linear(4, num_classes)

            def forward_features(self, x: Any) -> Any:
                return self.norm(self.body(x)) if x.sum() > -1e9 else x

            def forward_head(self, x: Any) -> Any:
                return self.fc(self.drop(x.mean((2, 3))))

            def forward(self, x: Any) -> Any:
                return self.forward_head(self.forward_features(x))

        return Net()


@pytest.mark.parametrize(
    ("build", "stages", "proven"),
    [
        (_Nets.functional_dropout, ("features", "head"), False),
        (_Nets.decides_by_value, ("features", "head"), False),
        (_Nets.one_weight_twice, ("stem", "twice", "head"), True),
        (_Nets.pooled, ("first", "second", "head"), True),
        (_Nets.two_methods, ("features", "head"), True),
    ],
)
def test_networks_that_are_awkward_to_cut(build: Callable[..., Any], stages: tuple[str, ...], proven: bool) -> None:
    engine, network = built(build)
    assert network.stages == stages
    assert network.stages_verified == proven
    assert bool(network.stages_unverified) != proven
    frozen, _ = built(build, trainable_from="head")
    before = frozen.weights()
    train(frozen)
    assert changed(before, frozen.weights()) == {name for name in before if name.startswith("head/")}
    before = engine.weights()
    train(engine)
    assert changed(before, engine.weights()) == set(before)


@pytest.mark.parametrize("build", [_Nets.functional_dropout, _Nets.decides_by_value, _Nets.pooled])
def test_however_it_is_cut_it_computes_what_the_network_computes(build: Callable[..., Any]) -> None:
    import torch

    engine, _ = built(build, seed=3)
    torch.manual_seed(3)
    whole = build(CLASSES).eval()
    x = torch.from_numpy(images().transpose(0, 3, 1, 2) / np.float32(255))
    with torch.no_grad():
        np.testing.assert_allclose(logits(engine, images()), whole(x).numpy(), atol=1e-5)


def test_declared_stages_are_used_when_they_are_proven_and_doubted_when_not() -> None:
    def declare(order: Callable[[Any], list[Any]]) -> Any:
        backbone = Backbone(name="own/small", framework="torch", build=_stacked, stages=order)
        return built(backbone)[1]

    sound = declare(lambda model: [model.first, model.second, model.last])
    assert (sound.stages, sound.stages_verified) == (("first", "second", "head"), True)
    turned = declare(lambda model: [model.second, model.first, model.last])
    assert not turned.stages_verified
    assert "logits differ from the model's" in turned.stages_unverified
    twice = declare(lambda model: [model.first, model.first, model.second, model.last])
    assert "more than one stage" in twice.stages_unverified


def _stacked(num_classes: int) -> Any:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
            self.last = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, num_classes))

        def forward(self, x: Any) -> Any:
            return self.last(self.second(self.first(x)))

    return Net()


def test_a_list_of_modules_is_a_list_of_stages() -> None:
    _, network = built(lambda num_classes: list(convolutions(num_classes)))
    assert network.stages == ("0", "1", "head")


def test_lazy_layers_get_their_shapes_and_their_seed() -> None:
    def lazy(num_classes: int) -> Any:
        from torch import nn

        return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(num_classes))

    assert built(lazy, seed=1)[1].weights_hash == built(lazy, seed=1)[1].weights_hash


@pytest.mark.parametrize(("kind", "pooling"), [("linear", "average"), ("linear", "flatten"), ("dense256", "max")])
def test_a_new_head_is_computed_as_the_recipe_says(kind: str, pooling: str) -> None:
    engine, _ = built(convolutions, seed=5, head__kind=kind, head__pooling=pooling, head__dropout=0.5)
    x = engine.normalize(engine.upload(images()))
    for stage in engine._network.stages[:-1]:
        x = stage.call(x, False)
    maps = x.detach().numpy().transpose(0, 2, 3, 1)
    reduced = {"average": maps.mean((1, 2)), "max": maps.max((1, 2)), "flatten": maps.reshape(len(maps), -1)}[pooling]
    if kind == "dense256":
        reduced = np.maximum(reduced @ glorot_uniform(5, "dense", (reduced.shape[1], 256)), 0)
    expected = reduced @ glorot_uniform(5, "logits", (reduced.shape[1], CLASSES))
    np.testing.assert_allclose(logits(engine, images()), expected, rtol=1e-4, atol=1e-5)


def test_a_new_head_of_a_transformer_leaves_the_class_token_out() -> None:
    backbone = load_registry().get("timm:vit_tiny_patch16_224")
    engine, network = built(backbone, size=32, head__kind="linear")
    assert network.stages[-1] == "head"
    x = engine.normalize(engine.upload(images(2, 32)))
    for stage in engine._network.stages[:-1]:
        x = stage.call(x, False)
    assert x.shape[1] == 1 + (32 // 16) ** 2
    pooled = x.detach().numpy()[:, 1:].mean(1)
    expected = pooled @ glorot_uniform(0, "logits", (pooled.shape[1], CLASSES))
    np.testing.assert_allclose(logits(engine, images(2, 32)), expected, rtol=1e-3, atol=1e-4)


def test_a_network_that_is_one_stage_can_have_no_other_head() -> None:
    def one(num_classes: int) -> Any:
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.zeros(3, num_classes))

            def forward(self, x: Any) -> Any:
                return x.mean((2, 3)) @ self.weight if x.sum() > -1e9 else x

        return Net()

    assert built(one)[1].stages == ("head",)
    with pytest.raises(RunFailure, match=r"head of own/small can't be told.*native") as raised:
        built(one, head__kind="linear")
    assert raised.value.outcome is Outcome.UNSUPPORTED


def test_glorot_draws_are_the_same_everywhere() -> None:
    kernel = glorot_uniform(0, "logits", (4, 2))
    assert kernel.dtype == np.float32
    assert np.abs(kernel).max() <= 1
    np.testing.assert_array_equal(kernel, glorot_uniform(0, "logits", (4, 2)))
    assert not np.array_equal(kernel, glorot_uniform(0, "dense", (4, 2)))
    assert not np.array_equal(kernel, glorot_uniform(1, "logits", (4, 2)))
    wide = glorot_uniform(0, "logits", (1000, 200))
    limit = (6 / 1200) ** 0.5
    assert 0.99 * limit < np.abs(wide).max() <= limit
    assert wide.std() == pytest.approx(limit / 3**0.5, rel=0.01)
