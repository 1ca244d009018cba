"""The files that one image, and one learning rate, pass on their way through a real run, found by tracing it.

    python tests/performance/story_figures.py [--all]

A data set of noise is written, and ``torch/baseline_cnn`` trained on it for one epoch, with a profile function in the
command and in its worker (``sys.setprofile``), which sees what every function of ``benchmark`` and ``backbones`` is
given and returns. Printed are, in their order, the files that count:

- the image: a function is given, or returns, its path, the path of its source, its bytes, its pixels as whole numbers
  or as the network's input, its id, or its probabilities, alone or among others. Records that hold it closed (a
  request, a data set, a split, a job) do not count.
- the rate: until it has reached the optimizer, a function is given, returns or gives to another the number itself, a
  mapping of fields in which it stands, an ``Optimizer`` or a ``Recipe``; or it takes ``learning_rate`` out of a
  record. Who hands on a record that holds it closed (a request, an entry, a plan, a run, a job), or takes something
  else out of it, does not count.

What branches off is left out, as docs/design.md does, with all that it calls: the audit and the search for copies,
speeds, heat maps, kept models; and what comes after the image's part in the score. With ``--all`` also those are
printed that hold a value closed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

_HOUSE = Path(__file__).parents[2]
_SIZE, _CLASSES, _EACH, _RATE = 32, ("glioma", "none", "pituitary"), 16, 0.00123457
_IMAGE = "followed-7q.png"
_BRANCHES = ("data/audit/", "data/duplicates/", "measurement/", "models/", "reporting/", "tracking/", "conformance/")

# What every process of the traced command imports first.
_TRACER = '''
import dataclasses, json, os, sys, threading
from pathlib import PurePath

FACTS = json.loads(os.environ["FOLLOWED"])
HOUSE, LOG, RATE, SIZE = FACTS["house"], FACTS["log"], FACTS["rate"], FACTS["size"]
IMAGE, SOURCE, CONTENT = FACTS["image"], FACTS["source"], bytes.fromhex(FACTS["bytes"])
ENDS = {("benchmark/execution/controller.py", "_finished"): "image",
        ("benchmark/engines/torch/optimizer.py", "apply"): "rate"}
told, busy = set(), threading.local()


def is_ours(code):
    return code.co_filename.startswith((HOUSE + "/benchmark/", HOUSE + "/backbones/"))


def branches_off(frame):
    while frame is not None:
        if frame.f_code.co_filename.removeprefix(HOUSE + "/benchmark/").startswith(tuple(FACTS["branches"])):
            return True
        frame = frame.f_back
    return False


def tell(what, frame):
    code = frame.f_code
    name = code.co_filename.removeprefix(HOUSE + "/")
    if is_ours(code) and (what, name) not in told and not branches_off(frame):
        told.add((what, name))
        with open(LOG, "a") as log:
            log.write(f"{what} {name} {code.co_name}\\n")


def of_image(value, depth=2):
    numpy = sys.modules.get("numpy")
    if isinstance(value, (str, PurePath)):
        return str(value).endswith(IMAGE) or str(value) == SOURCE
    if isinstance(value, (bytes, bytearray)):
        return bytes(value) == CONTENT
    if numpy is not None and type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu().numpy() if value.ndim > 1 and not value.requires_grad else None
    if numpy is not None and isinstance(value, numpy.ndarray):
        return in_array(numpy, value)
    if isinstance(value, (list, tuple, set)) and depth and len(value) < 500:
        return any(of_image(each, depth - 1) for each in value)
    if isinstance(value, dict) and depth and len(value) < 500:
        return any(of_image(each, depth - 1) for each in (*value, *value.values()))
    return False


def in_array(numpy, array):
    if array.dtype.kind == "U":
        return any(each.endswith(IMAGE) for each in array.reshape(-1)[:500].tolist())
    if array.ndim == 2 and array.dtype.kind == "f" and FACTS["probabilities"] and len(array) < 500:
        row = numpy.array(FACTS["probabilities"])
        return array.shape[1] == len(row) and bool((abs(array - row) < 1e-5).all(axis=1).any())
    pixels = numpy.frombuffer(bytes.fromhex(FACTS["pixels"]), numpy.uint8).reshape(SIZE, SIZE, 3)
    if array.ndim == 4 and array.shape[1:] == (3, SIZE, SIZE):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1:] != (SIZE, SIZE, 3) or len(array) > 500:
        return False
    wanted = pixels if array.dtype.kind == "u" else pixels / 255
    return bool((abs(array.astype("float64") - wanted) < 1e-4).all(axis=(1, 2, 3)).any())


def of_rate(value, depth=2):
    if isinstance(value, float):
        return value == RATE
    if isinstance(value, str):
        return value in (str(RATE), f"--learning-rate={RATE}")
    if isinstance(value, dict) and depth and len(value) < 500:
        return any(of_rate(each, depth - 1) for each in value.values())
    if isinstance(value, (list, tuple)) and depth and len(value) < 500:
        return any(of_rate(each, depth - 1) for each in value)
    kind = type(value)
    return (kind.__module__, kind.__name__) in (("benchmark.recipe.sections", "Optimizer"),
                                                ("benchmark.recipe.recipe", "Recipe"))


def holds(test, value, depth=4):
    """Whether a record holds a value somewhere inside."""
    if test(value):
        return True
    if depth and type(value).__module__.partition(".")[0] in ("benchmark", "backbones"):
        if isinstance(value, type):
            return False
        try:
            return any(holds(test, each, depth - 1) for each in list(vars(value).values())[:60])
        except TypeError:
            return False
    if depth and isinstance(value, (list, tuple)):
        return any(holds(test, each, depth - 1) for each in value[:20])
    return False


def look(frame, event, result):
    code = frame.f_code
    made = code.co_name == "__init__" and code.co_filename == "<string>"  # of a dataclass
    if event not in ("call", "return") or getattr(busy, "now", False) or not (made or is_ours(code)):
        return
    busy.now = True
    try:
        watch_records()
        names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount + 2]
        values = [result] if event == "return" else [frame.f_locals[n] for n in names if n in frame.f_locals]
        file = code.co_filename.removeprefix(HOUSE + "/")
        if event == "call" and frame.f_back is not None and any(map(of_rate, values)):
            tell("rate", frame.f_back)
        for what, test in (("image", of_image), ("rate", of_rate)):
            for value in values if (what, file) not in told and not made else ():
                if test(value):
                    tell(what, frame)
                elif ("closed " + what, file) not in told and holds(test, value):
                    tell("closed " + what, frame)
        if event == "return" and (file, code.co_name) in ENDS:
            with open(LOG, "a") as log:
                log.write(f"end {ENDS[file, code.co_name]}\\n")
    finally:
        busy.now = False


watched = set()


def watch_records():
    """Tell who takes the rate out of a record."""
    for module, name, fields in (("benchmark.recipe.sections", "Optimizer", ("learning_rate",)),
                                 ("benchmark.engines.base", "StepInput", ("learning_rate",))):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is None or name in watched:
            continue
        watched.add(name)
        plain = kind.__getattribute__

        def taken(self, field, plain=plain, fields=fields):
            if field in fields and not getattr(busy, "now", False):
                tell("rate", sys._getframe(1))
            return plain(self, field)

        kind.__getattribute__ = taken


sys.setprofile(look)
threading.setprofile(look)
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="also the files that only hold a value closed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts = _write_images(Path(folder) / "followed-source")
        facts |= {"probabilities": _probabilities(Path(folder), facts)}
        lines = _run(Path(folder), facts, traced=True)
    for value in ("image", "rate"):
        way = lines[: lines.index(f"end {value}")]
        for kind in (value, f"closed {value}") if options.all else (value,):
            seen = (line.removeprefix(f"{kind} ").rsplit(" ", 1) for line in way if line.startswith(f"{kind} "))
            first = {name.removeprefix("benchmark/"): where for name, where in reversed(list(seen))}
            files = list(reversed(first))
            print(f"{kind}: {len(files)} files")
            for name in files:
                print(f"    {name}  ({first[name]})")


def _write_images(source: Path) -> dict[str, object]:
    """Write images of noise, an official split with it; return what is known of the one that is followed."""
    generator = np.random.default_rng(0)
    facts: dict[str, object] = {}
    for part in ("Training", "Testing"):
        for name in _CLASSES:
            place = source / part / name
            place.mkdir(parents=True)
            for number in range(_EACH):
                pixels = generator.integers(0, 256, (_SIZE, _SIZE, 3), dtype=np.uint8)
                followed = part == "Testing" and name == _CLASSES[0] and number == 0
                path = place / (_IMAGE if followed else f"{part[0]}{number}.png")
                Image.fromarray(pixels).save(path)
                if followed:
                    facts = {"pixels": pixels.tobytes().hex(), "bytes": path.read_bytes().hex()}
    return {
        **facts,
        "image": _IMAGE,
        "source": str(source),
        "size": _SIZE,
        "rate": _RATE,
        "branches": _BRANCHES,
        "house": str(_HOUSE),
    }


def _probabilities(folder: Path, facts: dict[str, object]) -> list[float]:
    """Return what the run, once done, predicts for the image."""
    from benchmark.records.store import RecordStore

    _run(folder, facts, traced=False)
    ((_, predictions),) = RecordStore(folder / "out-False").read_all()
    assert predictions is not None
    (row,) = [number for number, name in enumerate(predictions.image_ids.tolist()) if _IMAGE in name]
    return [float(value) for value in predictions.probabilities[row]]


def _run(folder: Path, facts: dict[str, object], *, traced: bool) -> list[str]:
    """Do the run; return the lines of the trace."""
    log, tracer = folder / "trace", folder / "tracer"
    tracer.mkdir(exist_ok=True)
    (tracer / "sitecustomize.py").write_text(_TRACER if traced else "", encoding="utf-8")
    log.write_text("", encoding="utf-8")
    followed = json.dumps({"probabilities": [], **facts, "log": str(log)})
    environment = {**os.environ, "FOLLOWED": followed, "TUMORBOARD_CACHE": str(folder / f"cache-{traced}")}
    environment["PYTHONPATH"] = os.pathsep.join((str(tracer), str(_HOUSE)))
    sets = ("schedule.name=constant", "execution.deterministic=true", "execution.precision=float32",
            "execution.channels_last=off", "execution.compile=off")  # fmt: skip
    command = [sys.executable, "-m", "benchmark", "run", "--backbone", "torch/baseline_cnn", "--recipe", "default"]
    command += ["--data", str(folder / "followed-source"), "--size", str(_SIZE), "--epochs", "1", "--cam", "0"]
    command += ["--learning-rate", str(_RATE), "--keep-models", "none", "--seed", "0", "--weights", "none"]
    command += [word for each in sets for word in ("--set", each)] + ["--out", str(folder / f"out-{traced}")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return log.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
