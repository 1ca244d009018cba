"""A Keras network on TensorFlow, in inference mode, for another runtime: SavedModel, TensorFlow Lite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmark.engines.base import ExportedGraph, NotKept

INPUT, OUTPUT = "images", "outputs"


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
            given = logits(normalized(images) if graph.whole else images)
            return {OUTPUT: tf.nn.softmax(given / graph.temperature) if graph.whole else given}

        kind = tf.uint8 if graph.whole else tf.float32
        signature = [tf.TensorSpec((None, size, size, 3), kind, name=INPUT)]
        self.serve = tf.function(compute, input_signature=signature, autograph=False)


def export(target: str, path: Path, network: ExportedNetwork) -> None:
    """Write a network, whose batch is free.

    Args:
        target: ``savedmodel`` (a folder) or ``tflite`` (a file).
        path: where to.
        network: what is written.

    Raises:
        NotKept: TensorFlow can't write it.
    """
    try:
        if target == "savedmodel":
            tf.saved_model.save(network, str(path), signatures={"serving_default": network.serve})
        elif target == "tflite":
            function = network.serve.get_concrete_function()
            # without the module that holds them, variables become constants: as variables they are lost in the file
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
            converter.experimental_enable_resource_variables = False
            path.write_bytes(converter.convert())
        else:
            raise NotKept(f"TensorFlow has no export to {target}")
    except NotKept:
        raise
    except Exception as error:  # the converter raises many kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise NotKept(f"TensorFlow can't export it to {target} ({reason})") from error


def run(target: str, path: Path) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Return what computes a written file without the code of the network.

    Raises:
        NotKept: it can't be read.
    """
    if target == "savedmodel":
        read = tf.saved_model.load(str(path))

        def serve(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            return np.asarray(read.signatures["serving_default"](tf.constant(inputs))[OUTPUT])

        return serve
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
