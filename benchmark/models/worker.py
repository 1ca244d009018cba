"""The child process (``python -m benchmark.models.worker``) that asks one model, or exports it: one framework each.

Its argument is a JSON object; arrays go through files, whose paths it is told. It prints messages: ``progress``, and
at the end ``done`` or ``problem`` with a sentence.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.child_process import send, take_standard_streams
from benchmark.engines import engine_entry
from benchmark.engines.base import ExportedGraph, NotKept
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.errors import UserError
from benchmark.models.description import Model
from benchmark.models.images import open_images
from benchmark.models.load import LoadedModel, load
from benchmark.models.prepared_by_copies import prepared_beside
from benchmark.process_memory import hold_memory


def main() -> int:
    """Do what the argument asks; return 0 where it could be done."""
    _, answers = take_standard_streams()
    asked = json.loads(sys.argv[1])
    shut_out_other_framework(asked["engine"])
    if engine_entry(asked["engine"]).holds_memory and asked["device"] == "cpu":
        hold_memory()  # as a run's worker does, whose speed the board has
    try:
        outcome = {"predict": predict, "reference": reference, "export": export}[asked["do"]](asked, answers)
    except UserError as error:
        send(answers, {"event": "problem", "problem": str(error)})
        return 2
    send(answers, {"event": "done", **outcome})
    return 0


def loaded_model(asked: dict[str, Any]) -> LoadedModel:
    """Load the model that is asked, into this process."""
    return load(
        asked["model"],
        device=asked["device"],
        plugins=[Path(plugin) for plugin in asked["plugins"]],
        engine=asked["engine"],
        precision=asked.get("precision"),
    )


def predict(asked: dict[str, Any], answers: Any) -> dict[str, Any]:
    """Ask the model about a source's images; leave what its network makes of them in ``leave``."""
    model = Model.read(Path(asked["model"]))
    images = open_images(asked["source"], model.class_names, unlabelled=asked["unlabelled"])
    with prepared_beside(images, model.input.size, model.input.resize) as batches:  # while the framework is imported
        loaded = loaded_model(asked)
        seen = loaded.ask(
            images, lambda done, of: send(answers, {"event": "progress", "done": done, "of": of}), batches=batches
        )
    arrays: dict[str, Any] = seen.arrays()
    arrays["image_ids"] = np.array([image.image_id for image in images], dtype=np.str_)
    arrays["classes"] = np.array([image.class_name or "" for image in images], dtype=np.str_)
    arrays["patients"] = np.array([image.patient or "" for image in images], dtype=np.str_)
    reason = ""
    if asked["explain"]:
        rows = spread(seen.trained_on, asked["explain"])
        if len(rows):
            chosen = np.flatnonzero(seen.read)[rows]
            predicted = seen.logits[rows].argmax(axis=1).astype(np.int64)
            pixels, maps, reason = loaded.explain([images[k] for k in chosen], predicted)
            arrays |= {"explained": chosen, "explained_pixels": pixels, "maps": maps, "explained_classes": predicted}
    np.savez(asked["leave"], **arrays)
    return {"reason": reason}


def spread(trained_on: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.int64]:
    """Return which images are explained: evenly spread over those that the network was not trained on, else over all.

    Args:
        trained_on: bool, shape (N,).
        most: how many.
    """
    candidates = np.flatnonzero(~trained_on) if not trained_on.all() else np.arange(len(trained_on))
    places = np.linspace(0, len(candidates) - 1, min(most, len(candidates)))
    return np.asarray(candidates[np.unique(places.round().astype(np.int64))], dtype=np.int64)


def reference(asked: dict[str, Any], answers: Any) -> dict[str, Any]:
    """Leave the engine's own probabilities of prepared images."""
    with np.load(asked["images"], allow_pickle=False) as arrays:
        pixels = arrays["pixels"]
    np.savez(asked["leave"], probabilities=loaded_model(asked).probabilities(pixels))
    return {}


def export(asked: dict[str, Any], answers: Any) -> dict[str, Any]:
    """Write the network for another runtime, and leave that runtime's probabilities of prepared images."""
    from benchmark.models.runtimes import compute

    loaded = loaded_model(asked)
    path, whole = Path(asked["path"]), bool(asked["whole"])
    temperature = loaded.model.calibration.temperature
    try:
        loaded.engine.export(asked["target"], path, ExportedGraph(whole, temperature))
        with np.load(asked["images"], allow_pickle=False) as arrays:
            pixels = arrays["pixels"]
        computed = compute(loaded, asked["target"], path, pixels, whole=whole)
    except NotKept as error:
        raise UserError(f"'{loaded.folder}' can't be exported: {error}.") from error
    np.savez(asked["leave"], probabilities=computed.probabilities)
    return {"runtime": computed.runtime, "latency_p50_ms": computed.latency_p50_ms, "made_by": computed.made_by}


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a framework that crashes while it is torn down must not spoil what is done
