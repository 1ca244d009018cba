"""Runs on a Ray cluster of two nodes on this machine: scores, lost nodes, killed commands, memory, ports."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmark.execution.executors.node import installation
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from tests.execution.commands import EXACT, GOOD, PATIENCE, Bench, follow_until, gone, interrupt, make_images

if importlib.util.find_spec("ray") is None:  # imported only once the loopback is chosen
    pytest.skip("the extra ray is not installed", allow_module_level=True)
# one cluster for all, also where tests run side by side
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

PLUGIN = (
    GOOD
    + """

@backbone("test/hungry", framework="torch", input_size=16)
def hungry(num_classes):
    held = []
    while True:
        held.append(bytearray(os.urandom(1000)) * 20_000)
        time.sleep(0.01)


@backbone("test/slow", framework="torch", input_size=16)
def slow(num_classes):
    from torch import nn

    class Pause(nn.Module):
        def forward(self, values):
            time.sleep(0.03)
            return values

    return nn.Sequential(Pause(), tiny(num_classes))
"""
)
WAITING = """

@backbone("test/waiting", framework="torch", input_size=16)
def waiting(num_classes):
    from torch import nn

    class Wait(nn.Module):
        passes = 0

        def forward(self, values):
            self.passes += 1
            go_on = pathlib.Path(__file__).with_name("go on")
            while self.training and self.passes > 30 and not go_on.exists():
                time.sleep(0.05)
            return values

    return nn.Sequential(Wait(), tiny(num_classes))
"""
QUIET = ("--cam", "none", "--keep-models", "none", *EXACT)
WORKER = "benchmark.execution.worker.worker"


def cluster_of(folder: Path) -> SimpleNamespace:
    """Start a head without cores, and two nodes with one each and a cache of their own."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})

    def node(name: str, **environment: str) -> Any:
        variables = {"TUMORBOARD_CACHE": str(folder / f"cache {name}"), **environment}
        made = cluster.add_node(wait=False, num_cpus=1, env_vars=variables, **small)
        cluster.wait_for_nodes(timeout=PATIENCE)
        return made

    nodes = [node("a"), node("b")]
    return SimpleNamespace(cluster=cluster, nodes=nodes, node=node, address=cluster.address)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Keep Ray on the loopback, and let it be as slow to start as a busy machine makes it."""
    before = dict(os.environ)
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    os.environ |= {"RAY_worker_register_timeout_seconds": str(round(PATIENCE))}
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory, environment: None) -> Iterator[SimpleNamespace]:
    made = cluster_of(tmp_path_factory.mktemp("nodes"))
    yield made
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture
def bench(tmp_path: Path, images: Path) -> Bench:
    return Bench.of(tmp_path, PLUGIN, images)


def on_ray(bench: Bench, address: str, **choices: Any) -> tuple[str, ...]:
    """Return the words that bring a command to a cluster."""
    import tomli_w

    file = bench.plugin.with_name("cluster.toml")
    file.write_text(tomli_w.dumps({"cpus": 1, "ray_address": address, **choices}))
    return "--executor", "ray", "--cluster", str(file)


def results(out: Path) -> dict[str, tuple[Record, bytes]]:
    """Return each run's record and probabilities, by its key."""
    found = {}
    for record, predictions in RecordStore(out).read_all():
        assert predictions is not None, record.reason
        found[record.key] = record, predictions.probabilities.tobytes()
    return found


def scores(out: Path) -> dict[str, bytes]:
    return {key: probabilities for key, (_, probabilities) in results(out).items()}


def workers(made: SimpleNamespace) -> list[tuple[Any, psutil.Process]]:
    """Return the worker processes at work, each with its node."""
    return [
        (node, process)
        for node in made.nodes
        for process in psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
        if WORKER in process.cmdline()
    ]


def test_six_runs_over_both_frameworks_score_as_locally_though_nothing_is_shared_and_the_store_is_full(
    two_nodes: SimpleNamespace, bench: Bench, tmp_path: Path
) -> None:
    import numpy as np
    import ray

    six = ("--backbone", "torch/baseline_cnn", "keras/baseline_cnn", "--seed", "0", "1", "2", "--epochs", "2")
    words = (*six, *QUIET)
    local = Bench(bench.images, bench.plugin, tmp_path / "local")
    done = local.run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    ray.init(address=two_nodes.address, log_to_driver=False)
    try:
        filling = [ray.put(np.zeros(24 * 2**20, np.uint8)) for _ in range(3)]
        there = on_ray(bench, two_nodes.address, scratch=str(tmp_path / "scratch"))
        done = bench.run(*words, *there)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(filling) == 3
    finally:
        ray.shutdown()
    assert len(scores(bench.out)) == 6
    assert scores(bench.out) == scores(local.out)
    of_node = [record for record, _ in results(bench.out).values()]
    assert all(record.settings and record.settings.plugins == (bench.plugin,) for record in of_node)
    assert any(record.provenance["runs_before_in_process"] for record in of_node), "no two runs shared a worker"
    left = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, left


def test_a_run_goes_on_after_its_node_and_then_its_command_are_gone(
    two_nodes: SimpleNamespace, bench: Bench, tmp_path: Path
) -> None:
    words = ("--backbone", "test/slow", "--epochs", "12", "--set", "early_stopping.patience=100", *QUIET)
    local = Bench(bench.images, bench.plugin, tmp_path / "local")
    assert local.run(*words).returncode == 0
    command = bench.start(*words, *on_ray(bench, two_nodes.address))
    follow_until(command, "epoch 2/")
    ((lost, worker),) = workers(two_nodes)
    two_nodes.cluster.remove_node(lost, allow_graceful=False)
    two_nodes.nodes.remove(lost)
    assert "the run is placed anew" in follow_until(command, "was lost")
    assert gone([worker.pid], PATIENCE)
    follow_until(command, "epoch 7/")
    ((_, worker),) = workers(two_nodes)
    command.kill()
    command.wait()
    assert gone([worker.pid], PATIENCE), "the worker outlived its command"
    again = bench.run(*words, *on_ray(bench, two_nodes.address))
    assert again.returncode == 0, again.stdout + again.stderr
    ((record, probabilities),) = results(bench.out).values()
    assert record.provenance["resumed_from_epoch"] >= 5
    assert [probabilities] == list(scores(local.out).values())


def test_a_run_that_eats_memory_is_a_row_and_the_next_is_done(two_nodes: SimpleNamespace, bench: Bench) -> None:
    chosen = ("--backbone", "test/hungry", "test/good", "--epochs", "1", *QUIET)
    done = bench.run(*chosen, *on_ray(bench, two_nodes.address, memory="1GB"))
    assert done.returncode == 1, done.stdout + done.stderr
    rows = bench.rows()
    assert rows["test/hungry"]["status"] == "oom"
    assert rows["test/hungry"]["reason"] == "It took more than the 1 GB that a run may take."
    assert rows["test/good"]["status"] == "ok"


def test_ctrl_c_twice_leaves_nothing_on_any_node(two_nodes: SimpleNamespace, bench: Bench) -> None:
    command = bench.start("--backbone", "test/slow", "--epochs", "500", *QUIET, *on_ray(bench, two_nodes.address))
    follow_until(command, "epoch 1/")
    at_work = [process.pid for _, process in workers(two_nodes)]
    interrupt(command)
    follow_until(command, "Ctrl-C again stops at once")
    interrupt(command)
    assert "Interrupted." in command.communicate(timeout=PATIENCE)[0]
    assert command.returncode == 130
    assert gone(at_work, PATIENCE)
    assert not list((bench.out / "internal" / "claims").glob("*.claim"))


def other_timm(folder: Path) -> str:
    """Make a path of Python's on which another version of timm seems to be installed; return it."""
    info = folder / "other" / "timm-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: timm\nVersion: 0.0.1\n")
    return os.pathsep.join([str(info.parent), os.environ.get("PYTHONPATH", "")])


def test_a_node_that_comes_late_and_is_not_fit_is_left_out(
    two_nodes: SimpleNamespace, bench: Bench, tmp_path: Path
) -> None:
    bench.plugin.write_text(PLUGIN + WAITING)
    many = ("--epochs", "20", "--set", "early_stopping.patience=100")
    words = ("--backbone", "test/waiting", "--seed", "0", "1", "2", *many, *QUIET)
    go_on = tmp_path / "go on"
    command = bench.start(*words, *on_ray(bench, two_nodes.address, at_once=len(two_nodes.nodes) + 2))
    follow_until(command, "epoch 1/")
    broken = tmp_path / "broken" / "sitecustomize.py"  # read as Python starts: no worker begins there
    broken.parent.mkdir()
    broken.write_text("import sys\nsys.modules['benchmark'] = None\n")
    late = [
        two_nodes.node("c", PYTHONPATH=other_timm(tmp_path)),
        two_nodes.node("d", PYTHONPATH=os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])),
    ]
    try:
        told = follow_until(command, "It is left out") + follow_until(command, "It is left out")
        go_on.touch()
        output = command.communicate(timeout=PATIENCE)[0]
    finally:
        for node in late:
            two_nodes.cluster.remove_node(node)
    assert command.returncode == 0, told + output
    here = installation().libraries["timm"]
    assert f"has timm 0.0.1 (here {here}): results would differ" in told
    assert "can't be used: " in told
    assert [record.outcome for record, _ in results(bench.out).values()] == ["ok"] * 3


def test_a_cluster_without_a_fit_node_is_refused_before_anything_runs(
    two_nodes: SimpleNamespace, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", other_timm(tmp_path))  # of the command: all nodes have another
    done = bench.run("--backbone", "test/good", *QUIET, *on_ray(bench, two_nodes.address))
    assert done.returncode == 2
    assert f"has timm {installation().libraries['timm']} (here 0.0.1): results would differ" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bench.out / "records").exists()


def test_ray_of_this_machine_alone_listens_on_the_loopback_and_ctrl_c_ends_it(bench: Bench) -> None:
    file = bench.plugin.with_name("cluster.toml")
    file.write_text("cpus = 1\nat_once = 1\n")
    words = ("--backbone", "test/slow", "--epochs", "500", *QUIET, "--executor", "ray", "--cluster", str(file))
    command = bench.start(*words)
    follow_until(command, "epoch 1/")
    started = psutil.Process(command.pid).children(recursive=True)
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in (psutil.Process(command.pid), *started)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    interrupt(command)
    assert "Interrupted." in command.communicate(timeout=PATIENCE)[0]
    assert listening == {"127.0.0.1"}
    assert gone([process.pid for process in started], PATIENCE)
    ((record, _),) = RecordStore(bench.out).read_all()
    assert record.outcome == "interrupted"


def test_an_address_where_nothing_is_is_said_in_a_sentence(bench: Bench) -> None:
    done = bench.run("--backbone", "test/good", "--executor", "ray", "--ray-address", "127.0.0.1:9")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--ray-address 127.0.0.1:9 can't be reached" in done.stderr
    assert "Traceback" not in done.stderr
