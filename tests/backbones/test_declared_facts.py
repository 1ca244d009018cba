"""What the built-in backbones declare of themselves is what is built, and nothing needs a network for that."""

import socket
from typing import Any, NoReturn

import pytest

from backbones.registry import load_registry

BUILT_IN = {name: load_registry().get(name) for name in load_registry().names()}
OF_TORCH = [name for name, entry in BUILT_IN.items() if entry.framework == "torch"]
OF_KERAS = [name for name, entry in BUILT_IN.items() if entry.framework == "keras"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def built(name: str, engine: str) -> Any:
    from benchmark.engines import BuildSpec, create
    from benchmark.recipe import Recipe

    entry = BUILT_IN[name]
    # global pooling makes a network's weights the same at any size; the baseline's dense layer has one size
    size = entry.input_size if entry.library == "own" else 64
    made = create(engine, "cpu", tf32=False, deterministic=False)
    recipe = Recipe().with_values({"execution.compile": "off", "execution.channels_last": "off"})
    return made.build(BuildSpec(entry, recipe, num_classes=4, size=size, weights=None, seed=0))


def assert_is_as_declared(name: str, engine: str) -> None:
    network = built(name, engine)
    entry = BUILT_IN[name]
    assert (network.parameters, len(network.stages)) == (entry.parameters, entry.stage_count)
    assert network.stages_verified


def test_all_thirteen_are_there() -> None:
    assert len(BUILT_IN) == 13
    assert {entry.library for entry in BUILT_IN.values()} == {"own", "timm", "keras", "keras_cv"}


@pytest.mark.parametrize("name", OF_TORCH)
@pytest.mark.usefixtures("no_network")
def test_torch_networks_are_what_they_say(name: str) -> None:
    assert_is_as_declared(name, "torch")


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", OF_KERAS)
@pytest.mark.usefixtures("no_network")
def test_keras_networks_are_what_they_say(name: str) -> None:
    assert_is_as_declared(name, "tensorflow")
