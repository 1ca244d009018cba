"""Networks under their library's own names: written, and read by timm alone and by a network built anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.registry import load_registry
from benchmark.engines.base import NotKept
from tests.engines.torch_small import built, convolutions, images, logits, plain, train

SIZE = 64


def timm_logits(folder: Path, arguments: dict[str, Any], inputs: Any) -> Any:
    """Return what timm computes from a file, strictly loaded."""
    import timm
    import torch
    from safetensors.torch import load_file

    model = timm.create_model(**arguments).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    with torch.no_grad():
        return model, model(inputs)


@pytest.mark.parametrize("head", ["native", "linear"])
@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_efficientnet"])
def test_timm_reads_what_was_trained(name: str, head: str, tmp_path: Path) -> None:
    """A linear head behind the same pooling is timm's own classifier, and stands under its name."""
    engine, _ = built(load_registry().get(name), size=SIZE, head__kind=head)
    pixels = images(3, SIZE)
    saved = engine.save_network(tmp_path)
    assert (saved.reader, saved.head, saved.files) == ("timm", {}, ("model.safetensors",))
    assert saved.arguments["num_classes"] == 3
    inputs = engine.normalize(engine.upload(pixels))
    _, given = timm_logits(tmp_path, dict(saved.arguments), inputs)
    np.testing.assert_allclose(given.numpy(), logits(engine, pixels), atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "dense256"])
def test_a_head_that_timm_has_no_place_for_stands_behind_its_features(kind: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    engine, _ = built(load_registry().get("timm:test_convnext"), size=SIZE, head__kind=kind)
    pixels = images(3, SIZE)
    saved = engine.save_network(tmp_path)
    assert (saved.reader, saved.head["method"]) == ("timm", "forward_features")
    assert saved.head["layers"] == (["dense", "logits"] if kind == "dense256" else ["logits"])
    model, _ = timm_logits(tmp_path, dict(saved.arguments), engine.normalize(engine.upload(pixels)))
    head = load_file(tmp_path / "head.safetensors")
    with torch.no_grad():
        x = model.forward_features(engine.normalize(engine.upload(pixels))).mean((2, 3))
        for number, layer in enumerate(saved.head["layers"]):
            x = (x.relu() if number else x) @ head[f"{layer}.weight"].T + head[f"{layer}.bias"]
    np.testing.assert_allclose(x.numpy(), logits(engine, pixels), atol=1e-4)


@pytest.mark.parametrize("head", ["native", "linear"])
def test_a_module_of_one_s_own_is_filled_by_its_own_names(head: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    engine, _ = built(convolutions, head__kind=head)
    train(engine, 3)
    before = logits(engine, images())
    saved = engine.save_network(tmp_path)
    own = convolutions(3)
    own.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert saved.reader == "torch"
    assert saved.head.get("method", "") == ("" if head == "native" else "[:-1]")
    other, _ = built(convolutions, head__kind=head, seed=7)
    assert not np.allclose(logits(other, images()), before)
    other.load_network(tmp_path)
    np.testing.assert_array_equal(logits(other, images()), before)


def test_a_frozen_run_s_whole_network_is_written(tmp_path: Path) -> None:
    """Features are kept on the disk and the head alone is trained; the file has every layer."""
    from safetensors.torch import load_file

    engine, _ = built(load_registry().get("timm:test_resnet"), size=SIZE, trainable_from="head", head__kind="linear")
    engine.save_network(tmp_path)
    kept = load_file(tmp_path / "model.safetensors")
    assert "conv1.weight" in kept or any(name.startswith("conv1") for name in kept)
    assert len(kept) > 20


def test_what_is_averaged_is_written(tmp_path: Path) -> None:
    """With an EMA, the file has its weights: those that gave the predictions."""
    engine, _ = built(plain, ema__decay=0.5)
    train(engine, 4, ema_decay=0.5)
    before = logits(engine, images())
    engine.save_network(tmp_path)
    other, _ = built(plain, seed=3)
    other.load_network(tmp_path)
    np.testing.assert_array_equal(logits(other, images()), before)


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    engine, _ = built(plain)
    engine.save_network(tmp_path)
    other, _ = built(convolutions)
    with pytest.raises(NotKept, match=r"model\.safetensors is of another network: 0\.0\.bias has shape \(4,\) there"):
        other.load_network(tmp_path)


def test_features_are_what_reaches_the_head() -> None:
    engine, _ = built(convolutions)
    given, features = engine.fetch(engine.forward_with_features(engine.upload(images())))
    np.testing.assert_array_equal(given, logits(engine, images()))
    assert features.shape == (6, 8)


def test_no_features_where_nothing_is_before_the_head() -> None:
    def opaque(num_classes: int) -> Any:
        """A forward pass that can't be traced, and ends in no dense layer."""
        import torch
        from torch import nn

        class Opaque(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = nn.Parameter(torch.randn(3, num_classes))

            def forward(self, x: Any) -> Any:
                pooled = x.mean((2, 3))
                return pooled @ self.kernel if float(pooled.sum()) < 1e9 else pooled @ -self.kernel

        return Opaque()

    engine, network = built(opaque)
    assert network.stages == ("head",)
    with pytest.raises(NotKept, match="can't be told from the rest"):
        engine.forward_with_features(engine.upload(images()))
