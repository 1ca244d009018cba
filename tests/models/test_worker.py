"""The process that asks a model, up to where it loads one."""

import io
import json
import sys

import pytest

from benchmark.errors import UserError
from benchmark.models import worker


@pytest.mark.parametrize(
    ("engine", "device", "held"), [("torch", "cpu", 1), ("torch", "cuda", 0), ("tensorflow", "cpu", 0)]
)
def test_memory_is_held_where_a_run_s_worker_holds_it(
    monkeypatch: pytest.MonkeyPatch, engine: str, device: str, held: int
) -> None:
    """A board's speeds were measured so, and a network that gives memory back takes up to twice as long."""
    calls: list[str] = []

    def load(*_: object, **__: object) -> None:
        calls.append("load")
        raise UserError("There is none.")

    answers = io.BytesIO()
    monkeypatch.setattr(worker, "take_standard_streams", lambda: (io.BytesIO(), answers))
    monkeypatch.setattr(worker, "shut_out_other_framework", lambda name: None)
    monkeypatch.setattr(worker, "hold_memory", lambda: calls.append("hold"))
    monkeypatch.setattr(worker, "load", load)
    asked = {"do": "export", "model": "x", "engine": engine, "device": device, "plugins": []}
    monkeypatch.setattr(sys, "argv", ["worker", json.dumps(asked)])
    assert worker.main() == 2
    assert calls == ["hold"] * held + ["load"], "before there is a network"
    assert json.loads(answers.getvalue()) == {"event": "problem", "problem": "There is none."}
