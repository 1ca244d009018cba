"""Stages found in the graphs of Keras models, and the self-test that decides whether they are proven."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backbones import Backbone
from benchmark.records.outcomes import Outcome, RunFailure
from tests.engines.keras_small import CLASSES, built, convolutions, images, logits, residual, train

pytestmark = pytest.mark.tensorflow


def test_a_stage_ends_where_one_value_is_alive_and_the_next_kernel_begins() -> None:
    assert built(convolutions)[1].stages == ("first", "second", "head")
    network = built(residual)[1]
    assert network.stages == ("stem", "inner", "nested", "head")
    assert network.stages_verified
    assert not network.stages_unverified


def test_what_has_no_feature_map_keeps_its_last_kernel_as_the_head() -> None:
    def build(num_classes: int) -> Any:
        import keras
        from keras import layers

        return keras.Sequential(
            [layers.Flatten(), layers.Dense(5, name="hidden"), layers.ReLU(), layers.Dense(num_classes)]
        )

    network = built(build, trainable_from="head")[1]
    assert network.stages == ("hidden", "head")
    assert network.trainable_parameters == 6 * CLASSES


def test_a_row_of_tokens_is_a_feature_map() -> None:
    def build(num_classes: int, input_size: int) -> Any:
        import keras
        from keras import layers

        inputs = keras.Input((input_size, input_size, 3))
        x = layers.Reshape((-1, 8))(layers.Conv2D(8, 4, strides=4, name="patches")(inputs))
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="attention")(x, x)])
        x = layers.LayerNormalization()(x)
        return keras.Model(inputs, layers.Dense(num_classes)(x[:, 0]))

    assert built(build)[1].stages == ("patches", "attention", "head")
    changed, network = built(build, head__kind="linear")
    assert changed.weights()["head/logits/kernel"].shape == (8, CLASSES)
    assert network.stages_verified


def test_a_list_of_layers_is_a_list_of_stages() -> None:
    def build(num_classes: int) -> Any:
        import keras
        from keras import layers

        block = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()], name="block")
        return [
            layers.Rescaling(2.0, name="twice"),
            block,
            keras.Sequential([layers.Flatten(), layers.Dense(num_classes)]),
        ]

    engine, network = built(build, trainable_from="block")
    assert network.stages == ("twice", "block", "head")
    assert network.stages_verified
    assert np.isfinite(train(engine)).all()


def test_an_adapter_may_say_what_its_stages_are() -> None:
    def stages(model: Any) -> Sequence[Any]:
        import keras

        return [keras.Sequential(model.layers[:4], name="lower"), keras.Sequential(model.layers[4:])]

    backbone = Backbone(name="own/small", framework="keras", build=convolutions, stages=stages)
    network = built(backbone)[1]
    assert network.stages == ("lower", "head")
    assert network.stages_verified


@pytest.mark.parametrize(
    ("wrong", "doubt"),
    [
        (lambda model: [*model.layers[:2], *model.layers[3:]], "do not compute what the whole model computes"),
        (lambda model: model.layers[:-1], "not every weight is in exactly one stage"),
        (lambda model: model.layers[::-1], "`stages` fails"),
    ],
    ids=["activation left out", "last layer left out", "backwards"],
)
def test_stages_that_are_not_the_whole_are_doubted_and_not_used(wrong: Any, doubt: str) -> None:
    backbone = Backbone(name="own/small", framework="keras", build=convolutions, stages=wrong)
    network = built(backbone)[1]
    assert doubt in network.stages_unverified
    assert not network.stages_verified
    assert network.stages == ("first", "second", "head")


def test_a_subclassed_model_of_layers_has_stages_too() -> None:
    def build(num_classes: int) -> Any:
        import keras
        from keras import layers

        class Own(keras.Model):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.body = layers.Conv2D(4, 3, name="body")
                self.norm = layers.BatchNormalization()
                self.drop = layers.Dropout(0.5)
                self.top = layers.Dense(num_classes, name="top")

            def call(self, x: Any) -> Any:
                x = keras.ops.relu(self.norm(self.body(x)))
                return self.top(self.drop(keras.ops.mean(x, axis=(1, 2))))

        return Own()

    engine, network = built(build, trainable_from="head")
    assert network.stages == ("body", "head")
    assert network.stages_verified
    assert network.trainable_parameters == 4 * CLASSES + CLASSES
    assert np.isfinite(train(engine)).all()


def mode_dependent(num_classes: int) -> Any:
    """A model whose graph in training is another than in inference."""
    import keras
    from keras import layers

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = layers.Conv2D(4, 3)
            self.top = layers.Dense(num_classes)

        def call(self, x: Any, training: bool = False) -> Any:
            x = self.body(x)
            if training:
                x = x * 2
            return self.top(keras.ops.mean(x, axis=(1, 2)))

    return Own()


def test_a_model_that_decides_by_its_mode_is_trained_as_a_whole() -> None:
    engine, network = built(mode_dependent)
    assert network.stages == ("head",)
    assert "do not compute what the whole model computes" in network.stages_unverified
    assert np.isfinite(train(engine)).all()
    assert logits(engine, images()).shape == (6, CLASSES)
    refused = r"use trainable_from = 'all'|use head.kind = 'native'|use optimizer.layer_decay = 1 and"
    for changes in ({"trainable_from": "head"}, {"head__kind": "linear"}, {"optimizer__layer_decay": 0.5}):
        with pytest.raises(RunFailure, match=refused) as raised:
            built(mode_dependent, **changes)
        assert raised.value.outcome is Outcome.UNSUPPORTED


def test_a_layer_that_is_used_twice_is_in_one_stage() -> None:
    def build(num_classes: int, input_size: int) -> Any:
        import keras
        from keras import layers

        inputs = keras.Input((input_size, input_size, 3))
        twice = layers.Conv2D(3, 3, padding="same", name="twice")
        x = layers.Conv2D(3, 3, padding="same", name="between")(twice(inputs))
        x = layers.Conv2D(4, 3, name="after")(twice(x))
        return keras.Model(inputs, layers.Dense(num_classes)(layers.GlobalMaxPooling2D()(x)))

    engine, network = built(build)
    assert network.stages == ("features", "head")
    assert network.stages_verified
    assert built(build, trainable_from="head")[1].trainable_parameters == 4 * CLASSES + CLASSES
    assert np.isfinite(train(engine)).all()


def test_a_nested_call_in_inference_mode_composes_as_it_is_called() -> None:
    def build(num_classes: int, input_size: int) -> Any:
        import keras
        from keras import layers

        body = keras.Sequential([keras.Input((input_size, input_size, 3)), layers.Conv2D(4, 3), layers.Dropout(0.5)])
        inputs = keras.Input((input_size, input_size, 3))
        x = layers.GlobalAveragePooling2D()(body(inputs, training=False))
        return keras.Model(inputs, layers.Dense(num_classes)(x))

    assert built(build)[1].stages_verified


@pytest.mark.parametrize(
    ("name", "stages", "parameters"),
    [
        ("keras/baseline_cnn", 4, 23_584 + 1025 * 256 + 257 * CLASSES),
        ("keras/resnet50", 18, 23_534_592 + 2049 * CLASSES),
        ("keras/vgg16", 14, 14_714_688 + 513 * CLASSES),
        ("keras/efficientnet_b0", 39, 4_007_548 + 1281 * CLASSES),
        ("keras_cv/resnet50", 18, 23_508_032 + 2049 * CLASSES),
        ("keras_cv/vgg16", 14, 14_714_688 + 513 * CLASSES),
        ("keras_cv/efficientnet_v2_b0", 24, 5_858_704 + 1281 * CLASSES),
    ],
)
def test_the_stages_of_the_built_ins_are_proven(name: str, stages: int, parameters: int) -> None:
    from backbones.registry import load_registry

    backbone = load_registry().get(name)
    network = built(backbone, size=32)[1]
    assert network.stages_verified, network.stages_unverified
    assert len(network.stages) == stages
    assert network.parameters == parameters
    assert network.library_preprocessing in (None, backbone.preprocessing)
