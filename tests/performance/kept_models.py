"""What kept models are worth: their sizes, who reads them outside this program, their exports, the speed of predict.

    python tests/performance/kept_models.py results/four

Of each model in a results folder: it is read by a script that imports its library alone (``tests/models/outside``),
written for every target that its framework has, and asked about images in memory. Printed are the largest difference
of a probability to the model's own, for the script and for each export, and the median over rounds of predict's speed
over the pipeline's, both measured in one process, in turns. Predict is all but starting its process: images in memory
of the network's own size (noise in grey, or with ``--source`` and ``--decoded`` that source's) are hashed and looked
at, read by the network, their features compared with the training images', and the tables written. With ``--source``
alone it also lists and decodes the images, and is compared with the slower of the pipeline and decoding alone, by as
many threads as predict has processes for it. These have up to four batches each ready when the clock starts, as in
the command, where they begin while a framework is imported. ``--threads`` has threads of one process make images
ready, as where Python code asks a model.
"""

import argparse
import inspect
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.temperature import scaled
from benchmark.export_targets import TARGETS
from benchmark.models.ask import in_child
from benchmark.models.description import Model
from benchmark.models.export import export_model, proof_pixels
from benchmark.models.keep import kept_models

OUTSIDE = Path(__file__).parents[1] / "models" / "outside"
_SPEED = """
import contextlib, json, os, sys, time
import numpy as np
from benchmark.engines import engine_entry
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.models.description import Model
from benchmark.process_memory import hold_memory
from pathlib import Path
from benchmark.evaluation.temperature import softmax
from benchmark.cli.predict import write
from benchmark.models.answers import answers
from benchmark.models.images import open_images
from benchmark.models.prepared import helpers, prepared
from benchmark.models.prepared_by_copies import prepared_beside
folder, count, rounds, target, source, decoded, threads = sys.argv[1:]
count, rounds, decoded, threads = int(count), int(rounds), bool(decoded), bool(threads)
model = Model.read(Path(folder))
size, rule = model.input.size, model.input.resize
shut_out_other_framework(model.engine)
if engine_entry(model.engine).holds_memory:
    hold_memory()  # as the processes of runs and of predict do
noise = np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8).repeat(3, axis=3)
def opened():
    return open_images(source, model.class_names, unlabelled=True)[:count]
def in_memory():
    from benchmark.models.load import as_asked
    return as_asked(pixels, model.class_names)
if source:
    pixels = np.stack([prepared(image, size, rule) for image in opened()]) if decoded else noise[:len(opened())]
else:
    pixels, decoded = noise, True
count = len(pixels)
images_of = in_memory if decoded else opened
asked = images_of()
with contextlib.ExitStack() as stack:
    beside = [None if threads else stack.enter_context(prepared_beside(asked, size, rule)) for _ in range(rounds + 1)]
    from benchmark.models.load import load
    loaded = load(folder)
    engine = loaded.engine
    def predict():
        images = asked if decoded else opened()
        seen = loaded.ask(images, batches=beside.pop())
        write(answers([(model, seen)], images), None, [model], Path(target))
    def pipeline():
        for start in range(0, count, 32):
            batch = np.ascontiguousarray(pixels[start : start + 32])
            softmax(engine.fetch([engine.forward_images(engine.upload(batch))])[0])
    def decoding():
        images = opened()
        def decode(start):
            for image in images[start : start + 32]:
                prepared(image, size, rule)
        with helpers() as pool:
            list(pool.map(decode, range(0, count, 32)))
    def timed(call):
        begun = time.perf_counter()
        call()
        return count / (time.perf_counter() - begun)
    turns = [("pipeline", pipeline), ("predict", predict), *([] if decoded else [("decoding", decoding)])]
    for name, call in turns:
        call()
    speeds = {name: [] for name, _ in turns}
    for number in range(rounds):
        for name, call in (turns if number % 2 else reversed(turns)):
            speeds[name].append(timed(call))
    print(json.dumps(speeds))
    sys.stdout.flush()
os._exit(0)
"""


def read_outside(folder: Path, model: Model, pixels: np.ndarray, temporary: Path) -> np.ndarray:
    """Return the probabilities that the model's own library gives, float64 of shape (N, C), at temperature 1."""
    np.save(temporary / "pixels.npy", pixels)
    script = "read_keras.py" if model.saved.reader == "keras" else "read_torch.py"
    words = [str(folder), str(temporary / "pixels.npy"), str(temporary / "outside.npy")]
    if model.saved.reader == "torch":  # its library is torch; its code is the adapter's
        from backbones import baseline_cnn

        code = inspect.getsource(baseline_cnn.torch_baseline_cnn)
        code = code.partition("\n")[2]  # without the decorator, which is ours
        build = f"def build(n):\n    return torch_baseline_cnn(n, {pixels.shape[1]})\n"
        (temporary / "own.py").write_text(f"from typing import Any\n\n{code}\n\n{build}")
        words.append(str(temporary / "own.py"))
    subprocess.run([sys.executable, "-P", OUTSIDE / script, *words], check=True, cwd=temporary, capture_output=True)
    return np.load(temporary / "outside.npy")


def own_probabilities(folder: Path, model: Model, pixels: np.ndarray, temporary: Path) -> np.ndarray:
    """Return the engine's probabilities at the model's temperature."""
    np.savez(temporary / "images.npz", pixels=pixels)
    asked = {"do": "reference", "model": str(folder), "device": "cpu", "plugins": [], "precision": "float32"}
    in_child(model, {**asked, "images": str(temporary / "images.npz"), "leave": str(temporary / "own.npz")})
    return np.load(temporary / "own.npz")["probabilities"]


def report_files(folder: Path, model: Model) -> None:
    """Print sizes, who reads it, and each export."""
    sizes = {name: (folder / name).stat().st_size / 1e6 for name in model.files}
    print(f"{model.backbone.name}: {', '.join(f'{name} {size:.2f} MB' for name, size in sizes.items())}")
    pixels = proof_pixels(model, None)
    with tempfile.TemporaryDirectory() as temporary:
        own = own_probabilities(folder, model, pixels, Path(temporary))
        there = read_outside(folder, model, pixels, Path(temporary))
    # ours are at the model's temperature; back to 1, as theirs are
    difference = np.abs(there - scaled(own, 1 / model.calibration.temperature)).max()
    print(f"  read by its library alone: {difference:.2g} on {len(pixels)} images", flush=True)
    for target in TARGETS:
        for whole in (False, True):
            name = f"{target}{' whole' if whole else ''}"
            try:
                made = export_model(folder, target, whole=whole).export
            except UserError as error:
                print(f"  {name}: {error}", flush=True)
                continue
            told = f"{made.largest_difference:.2g}, {made.changed_decisions} decisions, {made.latency_p50_ms:.2f} ms"
            print(f"  {name}: {told}", flush=True)


def report_speed(folder: Path, name: str, options: argparse.Namespace) -> None:
    """Print predict's speed beside the pipeline's; of a source's images, beside the slower of that and decoding."""
    ways = ["yes" if way else "" for way in (options.decoded, options.threads)]
    with tempfile.TemporaryDirectory() as temporary:
        words = [sys.executable, "-c", _SPEED, str(folder), str(options.images), str(options.rounds), temporary]
        done = subprocess.run([*words, options.source, *ways], check=True, capture_output=True, text=True)
    speeds = {side: np.array(values) for side, values in json.loads(done.stdout.splitlines()[-1]).items()}
    predict = speeds.pop("predict")
    ratios = predict / np.min(list(speeds.values()), axis=0)
    others = ", ".join(f"{side} {np.median(values):.0f} img/s" for side, values in speeds.items())
    slower = " to the slower" if "decoding" in speeds else ""
    ratio = f"{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f}, {options.rounds} rounds)"
    print(f"  {name}: predict {np.median(predict):.0f} img/s, {others}, median ratio{slower} {ratio}", flush=True)


def main() -> None:
    """Report on each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--images", type=int, default=2048, help="images of a round")
    parser.add_argument("--source", default="", help="a folder or zip file of images to ask about, in place of those")
    parser.add_argument("--decoded", action="store_true", help="hold the source's images in memory, decoded")
    parser.add_argument("--threads", action="store_true", help="make images ready by threads, not by processes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="how the names of the models' folders begin")
    parser.add_argument("--speed", action="store_true", help="measure predict's speed alone")
    options = parser.parse_args()
    for kept in kept_models(options.results):
        folder = kept.resolve()
        if folder.name.startswith(options.only):
            model = Model.read(folder)
            if not options.speed:
                report_files(folder, model)
            report_speed(folder, model.backbone.name, options)


if __name__ == "__main__":
    main()
