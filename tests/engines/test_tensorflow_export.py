"""What TensorFlow writes, computed by each file's own runtime: the same probabilities, for any number of images."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.engines.base import ExportedGraph, NotKept
from benchmark.evaluation.temperature import softmax
from benchmark.export_targets import TARGETS
from benchmark.models.runtimes import runtime_of
from tests.engines.keras_small import CLASSES, built, convolutions, images, logits, train

pytestmark = pytest.mark.tensorflow
OWN = [name for name, target in TARGETS.items() if "tensorflow" in target.engines.values()]


@pytest.mark.parametrize("target", OWN)
def test_a_file_gives_what_the_engine_gives(target: str, tmp_path: Path) -> None:
    if target == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    engine, _ = built(convolutions)
    train(engine, 3)
    for whole in (False, True):
        path = tmp_path / TARGETS[target].file(target, whole=whole)
        engine.export(target, path, ExportedGraph(whole, temperature=1.7))
        run, _ = runtime_of(target, path)
        pixels = images(7)
        inputs = pixels if whole else engine.fetch([engine.normalize(engine.upload(pixels))])[0]
        own = logits(engine, pixels)
        expected = softmax(own, 1.7) if whole else own
        for some in (slice(0, 7), slice(0, 1)):
            given = run(inputs[some])
            assert given.shape == (len(expected[some]), CLASSES)
            np.testing.assert_allclose(given, expected[some], atol=1e-5)


def test_the_table_and_the_engine_name_the_same_files(tmp_path: Path) -> None:
    from benchmark.engines.tensorflow.export import READERS, WRITERS

    assert list(WRITERS) == OWN
    assert set(READERS) == {name for name in OWN if TARGETS[name].runtime == "tensorflow"}
    with pytest.raises(NotKept, match="TensorFlow has no export to torchscript"):
        built()[0].export("torchscript", tmp_path / "x", ExportedGraph(whole=False))
