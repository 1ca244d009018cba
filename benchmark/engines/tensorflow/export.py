"""A Keras network on TensorFlow, in inference mode, for another runtime: SavedModel, TensorFlow Lite, ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmark.engines.base import ExportedGraph
from benchmark.engines.shared import exporting

INPUT, OUTPUT = "images", "outputs"
OPSET = 18  # of ONNX

Compute = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


class ExportedNetwork(tf.Module):  # type: ignore[misc]  # TensorFlow is not typed here
    """What is written: the network, and where that is asked for its preprocessing and a softmax.

    Args:
        model: holds the weights.
        logits: returns float32 logits of normalised inputs.
        normalized: returns normalised inputs of uint8 images.
        graph: what is inside.
        size: side of the images, in pixels.
    """

    def __init__(
        self,
        model: Any,
        logits: Callable[[Any], Any],
        normalized: Callable[[Any], Any],
        graph: ExportedGraph,
        size: int,
    ) -> None:
        super().__init__()
        self.model = model

        def compute(images: Any) -> dict[str, Any]:
            outputs = logits(normalized(images) if graph.whole else images)
            return {OUTPUT: tf.nn.softmax(outputs / graph.temperature) if graph.whole else outputs}

        kind = tf.uint8 if graph.whole else tf.float32
        self.signature = [tf.TensorSpec((None, size, size, 3), kind, name=INPUT)]
        self.serve = tf.function(compute, input_signature=self.signature, autograph=False)


def export(target: str, path: Path, network: ExportedNetwork) -> None:
    """Write a network, whose batch is free.

    Args:
        target: one of :data:`WRITERS`.
        path: where to; a folder for ``savedmodel``, else a file.
        network: what is written.

    Raises:
        NotKept: TensorFlow can't write it, or what would is not installed.
    """
    with exporting("TensorFlow", target, WRITERS):
        WRITERS[target](network, path)


def _write_savedmodel(network: ExportedNetwork, path: Path) -> None:
    tf.saved_model.save(network, str(path), signatures={"serving_default": network.serve})


def _write_tflite(network: ExportedNetwork, path: Path) -> None:
    function = network.serve.get_concrete_function()
    # without the module that holds them, variables become constants: as variables they are lost in the file
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.experimental_enable_resource_variables = False
    path.write_bytes(converter.convert())


def _write_onnx(network: ExportedNetwork, path: Path) -> None:
    import tf2onnx

    tf2onnx.convert.from_function(
        network.serve, input_signature=network.signature, opset=OPSET, output_path=str(path)
    )


def _savedmodel(path: Path) -> Compute:
    read = tf.saved_model.load(str(path))

    def serve(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(read.signatures["serving_default"](tf.constant(inputs))[OUTPUT])

    return serve


def _tflite(path: Path) -> Compute:
    interpreter = tf.lite.Interpreter(model_path=str(path))

    def compute(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        (place,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(place["index"], inputs.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place["index"], inputs)
        interpreter.invoke()
        (out,) = interpreter.get_output_details()
        outputs: npt.NDArray[np.float32] = np.array(interpreter.get_tensor(out["index"]))
        return outputs

    return compute


# What TensorFlow writes, by the names of :data:`benchmark.export_targets.TARGETS`.
WRITERS: Mapping[str, Callable[[ExportedNetwork, Path], None]] = {
    "onnx": _write_onnx,
    "savedmodel": _write_savedmodel,
    "tflite": _write_tflite,
}
# What TensorFlow reads, and so computes, without the code of the network.
READERS: Mapping[str, Callable[[Path], Compute]] = {"savedmodel": _savedmodel, "tflite": _tflite}
