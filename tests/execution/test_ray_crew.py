"""The crew of a Ray cluster on a stand-in for Ray whose nodes answer at once: which slots are asked for, and when."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.execution.executors.base import Control, JobSource
from benchmark.execution.executors.node import installation
from benchmark.execution.executors.ray_crew import Crew
from benchmark.execution.executors.ray_nodes import Nodes, Share
from benchmark.records.outcomes import Outcome
from tests.execution.test_job import a_job


class LostError(Exception):
    """What Ray raises of a slot that is gone."""


class TaskError(LostError):
    """What Ray raises of an error in a task."""


def fake_ray() -> Any:
    """Return a stand-in for the module: references are what they refer to, in a list of one."""

    def get(ref: list[Any]) -> Any:
        if isinstance(ref[0], Exception):
            raise ref[0]
        return ref[0]

    exceptions = SimpleNamespace(
        RayError=LostError, RayTaskError=TaskError, OutOfMemoryError=TaskError, ObjectStoreFullError=TaskError
    )
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"CPU": 8}} for name in ("good", "bad")]
    return SimpleNamespace(
        get=get, wait=lambda refs, **_: (refs, []), kill=lambda _: None, nodes=lambda: nodes, exceptions=exceptions
    )


class Ref(list[Any]):
    """A reference; each is another."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def slot(node: str, describe: Any = None) -> Any:
    """Return a slot that ends each run at once."""
    facts = {"installation": asdict(installation()), "shared": True, "problem": "", "node": node}
    ending = {"attempt": "a", "outcome": "error", "reason": "It was only shown.", "seconds": 1.0}
    answers = {
        "describe": facts if describe is None else describe,
        "news": {"events": [], "ending": ending},
    }

    def method(name: str) -> Any:
        return SimpleNamespace(remote=lambda *_: Ref([answers.get(name)]))

    return SimpleNamespace(**{name: method(name) for name in ("describe", "begin", "news", "close", "ask")})


def other_versions() -> dict[str, Any]:
    there = {**asdict(installation()), "host": "node7", "python": "3.9.0"}
    return {"installation": there, "shared": True, "problem": "", "node": "bad"}


@pytest.mark.parametrize(
    ("describe", "notes"),
    [(other_versions, 1), (lambda: LostError("it died"), 0)],
    ids=["with other versions", "that can't start"],
)
def test_many_slots_that_fail_on_one_node_take_none_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, describe: Callable[[], Any], notes: int
) -> None:
    monkeypatch.setattr(Nodes, "look", lambda *_: None)  # it was looked at before the node came
    asked: list[str] = []
    told: list[str] = []

    def start() -> Any:
        bad = 2 <= len(asked) < 10
        asked.append("bad" if bad else "good")
        return slot("bad", describe()) if bad else slot("good")

    def on_event(job: Any, event: Mapping[str, Any]) -> None:
        assert job is None
        told.append(event["note"])

    control = Control()
    jobs = [a_job(tmp_path, seed=seed) for seed in range(20)]
    crew = Crew(Nodes(fake_ray()), Share(1, 0, None), start, 10, control, on_event)
    ended = list(crew.work(JobSource(jobs, control)))
    assert [ending.outcome for _, ending in ended] == [Outcome.ERROR] * 20
    assert len({job.key for job, _ in ended}) == 20
    assert asked[:10].count("bad") == 8
    assert len(told) == notes
    assert crew.count == 10, "the other slots are still wanted"
    if notes:
        assert "node7 has Python 3.9.0" in told[0]
        assert "It is left out: no run is placed there." in told[0]
        assert len(asked) > 10, "they were asked for again, elsewhere"


@pytest.mark.parametrize("at_once", [False, True], ids=["all that there are", "at_once"])
def test_where_at_once_says_that_nodes_will_come_an_unfit_node_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    ray = fake_ray()
    there = [node for node in ray.nodes() if node["NodeID"] == "bad"]
    ray.nodes = lambda: there
    nodes = Nodes(ray)
    nodes.leave_out("bad", "The node node7 has Python 3.9.0.")
    monkeypatch.setattr(nodes, "look", lambda *_: None)
    told: list[str] = []
    control, job = Control(), a_job(tmp_path)

    def start() -> Any:
        """Ask for a slot; a node comes for it, as where a cluster grows with what is asked of it."""
        there.append({"NodeID": "good", "Alive": True, "Resources": {"CPU": 8}})
        return slot("good")

    def on_event(_: Any, event: Mapping[str, Any]) -> None:
        told.append(event["note"])

    crew = Crew(nodes, Share(1, 0, None), start, 1, control, on_event, at_once)
    if not at_once:
        with pytest.raises(UserError, match=r"node7 has Python 3\.9\.0"):
            list(crew.work(JobSource([job], control)))
        return
    assert [ended.key for ended, _ in crew.work(JobSource([job], control))] == [job.key]
    assert told == [
        "The node node7 has Python 3.9.0. It is left out: no run is placed there. The runs wait for one that is fit, "
        "as at_once says that nodes may come."
    ]
