"""The process that asks a model, up to where it loads one."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.preparation import process_copy
from benchmark.errors import UserError
from benchmark.models import prepared_by_copies, worker
from benchmark.models.prepared import Facts
from tests.models.described import a_model, seen


@pytest.mark.parametrize(
    ("engine", "device", "held"), [("torch", "cpu", 1), ("torch", "cuda", 0), ("tensorflow", "cpu", 0)]
)
def test_memory_is_held_where_a_run_s_worker_holds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, device: str, held: int
) -> None:
    """A board's speeds were measured so, and a network that gives memory back takes up to twice as long."""
    calls: list[str] = []

    def load(*_: object, **__: object) -> None:
        calls.append("load")
        raise UserError("There is none.")

    answers = BytesIO()
    monkeypatch.setattr(worker, "take_standard_streams", lambda: (BytesIO(), answers))
    monkeypatch.setattr(worker, "shut_out_other_framework", lambda name: None)
    monkeypatch.setattr(worker, "hold_memory", lambda: calls.append("hold"))
    monkeypatch.setattr(worker, "load", load)
    a_model(tmp_path)
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "a.png")
    asked = {"do": "predict", "model": str(tmp_path), "engine": engine, "device": device, "plugins": [],
             "source": str(tmp_path / "a.png"), "unlabelled": True}  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["worker", json.dumps(asked)])
    assert worker.main() == 2
    assert calls == ["hold"] * held + ["load"], "before there is a network"
    assert json.loads(answers.getvalue()) == {"event": "problem", "problem": "There is none."}


@pytest.mark.skipif("sys.platform != 'linux'")
def test_images_are_made_ready_by_copies_that_are_made_before_a_framework_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "images" / "a.png")
    model = a_model(tmp_path)
    taken: list[object] = []

    class Loaded:
        def ask(self, images: Any, progress: Any, *, batches: Any) -> object:
            facts = Facts.together([batch.facts for batch in batches])
            taken.append(batches)
            logits = np.zeros((len(images), len(model.class_names)))
            return seen(logits, grey=facts.grey, sides=facts.sides, read=facts.read)

    monkeypatch.setattr(prepared_by_copies, "can_work_beside", lambda: True)
    monkeypatch.setattr(prepared_by_copies, "usable_cpus", lambda: 2)
    monkeypatch.setattr(worker, "load", lambda *_, **__: Loaded())
    asked = {"model": str(tmp_path), "engine": "torch", "device": "cpu", "plugins": [], "unlabelled": True,
             "source": str(tmp_path / "images"), "explain": 0, "leave": str(tmp_path / "left.npz")}  # fmt: skip
    worker.predict(asked, BytesIO())
    assert len(taken) == 1
    with np.load(tmp_path / "left.npz") as left:
        assert left["image_ids"].tolist() == ["a.png"]
        assert left["sides"].tolist() == [[16, 16]]
    code = "import sys; import benchmark.models.worker; print([n for n in sys.argv[1:] if n in sys.modules])"
    words = [sys.executable, "-c", code, *process_copy._WITH_THREADS]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "no copy is made where one of these was imported"
