"""What a user says of a cluster: the file, the options, and what is refused in a sentence."""

import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmark.cli.main import main
from benchmark.errors import UserError
from benchmark.execution.executors.node import Installation, for_this_node, installation, threads_of
from benchmark.execution.executors.table import executor_entry
from benchmark.execution.planning.cluster import Cluster, cluster_of
from tests.execution.test_job import a_job


def of_file(folder: Path, text: str, executor: str = "ray") -> Cluster:
    path = folder / "cluster.toml"
    path.write_text(text)
    return cluster_of(path, executor)


def test_a_file_says_what_each_worker_asks_for(tmp_path: Path) -> None:
    cluster = of_file(
        tmp_path,
        'gpus = 1\ncpus = 8\nmemory = "32GB"\nat_once = 16\npartition = "gpu"\ntime_limit = "4h"\nsetup = ["ml x"]',
        "slurm",
    )
    assert (cluster.gpus, cluster.cpus, cluster.memory, cluster.at_once) == (1, 8, 32 * 10**9, 16)
    assert (cluster.partition, cluster.time_limit, cluster.setup) == ("gpu", 4 * 3600.0, ("ml x",))
    assert of_file(tmp_path, "") == cluster_of(None, "ray") == Cluster()


def test_the_address_of_the_command_line_goes_before_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('ray_address = "auto"')
    assert cluster_of(path, "ray").ray_address == "auto"
    assert cluster_of(path, "ray", "10.0.0.1:6379").ray_address == "10.0.0.1:6379"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gpu = 1", r"Unknown field 'gpu' in cluster file '.*'\. Did you mean 'gpus'\? Allowed: gpus, cpus, "),
        ("gpus = 2", r"gpus: 0 or 1: a run uses no more than one GPU is allowed, not 2\."),
        ('memory = "much"', "memory: a size such as '16GB' is allowed, not 'much'"),
        ('cpus = "four"', "cpus: a whole number from 1 is allowed"),
        ('partition = "gpu"', "partition is for --executor slurm; --executor ray has no use for it"),
        ("cpus = ", "In cluster file"),
    ],
)
def test_what_can_not_be_used_is_said_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        of_file(tmp_path, text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cluster", "none.toml"), "--cluster is for another executor than local"),
        (("--ray-address", "auto"), "--ray-address is for --executor ray"),
        (("--executor", "rey"), "rey"),
        (("--executor", "ray", "--workers", "2"), "--workers is for this machine alone"),
        (("--executor", "ray", "--rerun-speeds"), "--rerun-speeds measures on this machine"),
        (("--executor", "ray", "--cluster", "none.toml"), "Cluster file 'none.toml' can't be read"),
        (("--executor", "ray", "--ray-address", "two words"), "--ray-address or the cluster file"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = ("--backbone", "torch/baseline_cnn", "--size", "16", "--limit", "12", "--out", str(tmp_path / "out"))
    assert main([*own, *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'--executor ray needs ray: pip install "tumorboard\[ray\]"'):
        executor_entry("ray")


@pytest.mark.parametrize(
    ("text", "device", "sentence"),
    [("gpus = 1", "cpu", "--device cpu, and gpus = 1"), ("gpus = 0", "cuda", "--device cuda, and gpus = 0")],
)
def test_a_device_and_a_cluster_that_contradict_each_other(
    tmp_path: Path, text: str, device: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    words = ("--backbone", "torch/baseline_cnn", "--executor", "ray", "--cluster", str(path), "--device", device)
    assert main([*words, "--limit", "12", "--size", "16", "--dry-run"]) == 2
    assert sentence in capsys.readouterr().err


def test_what_is_installed_otherwise_on_a_node_is_named() -> None:
    here = installation()
    assert here.different_on(Installation(**asdict(here))) == ""
    node = Installation("node7", "3.11.0", here.tumorboard, {**here.libraries, "numpy": "1.0"})
    sentence = here.different_on(node)
    assert sentence.startswith(f"The node node7 has Python 3.11.0 (here {here.python}), numpy 1.0 (here ")


def test_a_record_names_the_node_s_device_and_how_many_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.execution.executors.node.processor", lambda: "A fine processor")
    monkeypatch.setattr("benchmark.execution.executors.node.usable_cpus", lambda: 8)
    job = for_this_node(a_job(tmp_path), 2)
    assert (job.device, job.settings.workers, job.key) == ("A fine processor", 4, a_job(tmp_path).key)
    assert for_this_node(job, None).settings.workers == 1
    assert threads_of(2)["OMP_NUM_THREADS"] == "2"
    assert threads_of(None) == {}
