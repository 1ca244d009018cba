"""What trackers are told, read back from what they keep; one that fails costs a sentence and nothing else."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from benchmark.errors import UserError
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import WrittenBoard, write_leaderboard
from benchmark.tracking import session
from benchmark.tracking.session import TrackerProcess, Tracking
from benchmark.tracking.trackers import Tracked, tracked
from tests.execution.commands import GOOD, Bench
from tests.models.described import a_model
from tests.reporting.simulated import TWELVE, Study
from tests.tracking.recorder import install

READER = TWELVE[0]


@pytest.fixture(scope="module")
def tracked_board(tmp_path_factory: pytest.TempPathFactory) -> WrittenBoard:
    """The board of two runs of two networks, one of them with its model, all of it written."""
    out = tmp_path_factory.mktemp("study")
    study = Study(patients=12, slices=2)
    for reader in TWELVE[:2]:
        record, predictions = study.run(reader)
        RecordStore(out).write(record, predictions)
    model = out / "models" / "kept"
    model.mkdir(parents=True)
    first = study.run(READER)[0]
    a_model(model, key=first.key, identity=first.identity)
    (model / "README.md").write_text("---\nlicense: other\n---\n# the card")
    return write_leaderboard(out)


def tell(written: WrittenBoard, word: str) -> None:
    """Tell a tracker of a board, as ``leaderboard --track`` does; nothing may fail."""
    tracking = Tracking(tracked([word]), written.page.parent)
    tracking.board(written)
    assert tracking.close() == ()


def first_key(out: Path) -> str:
    return next(record.key for record, _ in RecordStore(out).read_all() if record.backbone.name == READER.name)


_TENSORBOARD = """
import json, sys, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")  # TensorBoard's own reader, without TensorFlow
from pathlib import Path
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
found = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    found[folder.name] = {
        tag: [events.SummaryMetadata(tag).plugin_data.plugin_name,
              [(e.step, e.wall_time, [x.decode("latin1") if isinstance(x, bytes) else float(x) for x in
                make_ndarray(e.tensor_proto).ravel()]) for e in events.Tensors(tag)]]
        for tag in events.Tags()["tensors"]
    }
print(json.dumps(found))
"""


def test_tensorboards_files_are_read_back(tracked_board: WrittenBoard) -> None:
    pytest.importorskip("tensorboard")
    out = tracked_board.page.parent
    tell(tracked_board, "tensorboard")
    done = subprocess.run(  # told again, by the command: nothing stands twice
        [sys.executable, "-m", "benchmark", "leaderboard", str(out), "--track", "tensorboard"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tracked" not in done.stdout + done.stderr
    folder = out / "tensorboard"
    read = subprocess.run([sys.executable, "-c", _TENSORBOARD, folder], capture_output=True, text=True, check=True)
    found = json.loads(read.stdout)
    key = first_key(out)
    (run,) = (tags for name, tags in found.items() if name.endswith(key[:8]))
    history = next(record for record, _ in RecordStore(out).read_all() if record.key == key).history
    kind, points = run["val_loss"]
    assert kind == "scalars"
    assert [point[0] for point in points] == [epoch.epoch for epoch in history]
    assert [point[2][0] for point in points] == pytest.approx([epoch.val_loss for epoch in history])
    assert run["test/macro_f1"][0] == "scalars"
    assert "95 % interval" in run["scores"][1][0][2][0]
    assert " to " in next(line for line in run["scores"][1][0][2][0].splitlines() if line.startswith("| macro_f1 |"))
    assert run["_hparams_/session_start_info"][0] == "hparams"
    assert "recipe.optimizer.name: adamw" in run["run"][1][0][2][0]
    assert "# the card" in run["model"][1][0][2][0]
    board = found["board"]
    kind, ((_, _, (width, height, png)),) = board["plot_confusion_matrices"]
    assert kind == "images"
    assert png.encode("latin1") == (out / "plot_confusion_matrices.png").read_bytes()
    assert float(width) > 100 < float(height)
    assert not [name for name in board if name.startswith(("gallery", "plot_cams", "plot_montage"))]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """MLflow's server on the loopback, with SQLite."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = (
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/runs.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    )
    with (tmp_path / "server.log").open("w") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words, "--workers", "1",
             "--host", "127.0.0.1", "--port", address.partition(":")[2]],
            stdout=log, stderr=log, start_new_session=True, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                assert urlopen(f"http://{address}/health").read() == b"OK"
                break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                assert started.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.3)
        yield f"http://{address}"
    finally:
        os.killpg(started.pid, 9)
        started.wait()


@pytest.mark.slow
def test_an_mlflow_server_is_told(tracked_board: WrittenBoard, server: str) -> None:
    client = pytest.importorskip("mlflow").MlflowClient(tracking_uri=server)
    out = tracked_board.page.parent
    for _ in range(2):  # told again, the same runs are gone on with
        tell(tracked_board, f"mlflow={server}")
    experiment = client.get_experiment_by_name(out.name)
    runs = {run.data.tags["tumorboard.key"]: run for run in client.search_runs([experiment.experiment_id])}
    key = first_key(out)
    assert len(runs) == 3
    run, record = runs[key], next(each for each, _ in RecordStore(out).read_all() if each.key == key)
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.epochs"] == str(record.identity["recipe"]["epochs"])
    assert run.data.tags["device"] == record.device
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(point.step, point.value) for point in curve] == [(each.epoch, each.val_loss) for each in record.history]
    scores = run.data.metrics
    assert scores["test/macro_f1_low"] < scores["test/macro_f1"] < scores["test/macro_f1_high"]
    model = {entry.path for entry in client.list_artifacts(run.info.run_id, "model/kept")} or {
        entry.path for entry in client.list_artifacts(run.info.run_id, "model")
    }
    assert {"model/README.md", "model/model.json", "model/model.safetensors"} <= model
    board = runs["board"].info.run_id
    assert "figures/plot_confusion_matrices.png" in {each.path for each in client.list_artifacts(board, "figures")}
    assert "tables/leaderboard.csv" in {each.path for each in client.list_artifacts(board, "tables")}


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of an offline run: W&B's log has the format of LevelDB's, behind seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_offline(tracked_board: WrittenBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    out = tracked_board.page.parent
    monkeypatch.setenv("WANDB_MODE", "offline")
    tell(tracked_board, "wandb=some-project")
    key = first_key(out)
    (path,) = (out / "wandb").glob(f"offline-run-*/run-{key[:16]}.wandb")
    records = list(wandb_records(path))
    history = next(record for record, _ in RecordStore(out).read_all() if record.key == key).history
    lines = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [line["val_loss"] for line in lines] == [epoch.val_loss for epoch in history]
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group) == ("some-project", out.name)
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["recipe.optimizer.name"] == "adamw"
    summary = {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["test/macro_f1_low"] < summary["test/macro_f1"] < summary["test/macro_f1_high"]
    assert any(record.artifact.type == "model" for record in records)
    assert list((out / "wandb").glob("*/files/media/images/plot_confusion_matrices_*.png"))
    tell(tracked_board, "wandb=some-project")
    boards = [path.name for path in (out / "wandb").glob("offline-run-*/run-*.wandb")
              if any(record.WhichOneof("record_type") == "run" and record.run.display_name.endswith(": board")
                     for record in wandb_records(path))]  # fmt: skip
    assert len(boards) == 2
    assert len(set(boards)) == 1, "told again, it is the same run"


def test_a_run_is_told_while_it_goes_on_and_trackers_that_fail_cost_a_sentence(tmp_path: Path) -> None:
    bench = Bench.of(tmp_path, GOOD)
    environment = {**bench.environment(), **{"PYTHONPATH": install(tmp_path / "site")["PYTHONPATH"]}}
    words = ("--backbone", "test/good", "--epochs", "2", "--cam", "none")
    trackers = [word for name in ("recorder=here", "raising", "leaving", "crashing") for word in ("--track", name)]
    done = subprocess.run(
        [*bench.command(*words), *trackers], capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("Not everything was tracked by")]
    assert [line.split(": ")[0].split()[-1] for line in failed] == ["raising", "leaving", "crashing"]
    assert "ValueError: the server is gone" in failed[0]
    assert "no account" in failed[1]
    assert all(line.endswith(f"leaderboard {bench.out} --track {name}") for line, name in
               zip(failed, ("raising", "leaving", "crashing"), strict=True))  # fmt: skip
    told = [json.loads(line) for line in (bench.out / "told.jsonl").read_text().splitlines()]
    assert told[0] == ["open", "here"]
    assert [line[0] for line in told] == [
        "open", "begin", "epoch", "epoch", "begin", "scores", "model", "end", "board", "close"
    ]  # fmt: skip
    assert [line[2] for line in told if line[0] == "epoch"] == [1, 2]  # once each, though told from the record too
    assert told[1][1]["fresh"] is True
    assert told[4][1]["fresh"] is False
    assert told[4][1]["tags"]["status"] == "ok"
    assert told[7][2] == "ok"
    assert not any(str(tmp_path) in json.dumps(line) for line in told if line[0] in ("begin", "scores"))


def test_a_tracker_that_gives_no_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracked_board: WrittenBoard
) -> None:
    monkeypatch.setenv("PYTHONPATH", install(tmp_path / "site")["PYTHONPATH"])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(session, "PATIENCE", 4.0)
    tracking = Tracking(tracked(["silent"]), tmp_path)
    tracking.board(tracked_board)
    (sentence,) = tracking.close()
    assert sentence.startswith("Not everything was tracked by silent: it gave no answer for 4 s.")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('none')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert TrackerProcess(Tracked("wandb"), tmp_path).close(30) == ('it needs wandb: pip install "tumorboard[wandb]"')


@pytest.mark.parametrize(
    ("words", "said"),
    [(["mlfow"], "Did you mean 'mlflow'"), (["wandb", "wandb=x"], "names wandb twice"), (["=x"], "no such tracker")],
)
def test_a_name_that_no_tracker_has_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        tracked(words)


def test_an_address_may_hold_equals_signs() -> None:
    assert tracked(["mlflow=http://host/?a=b"]) == (Tracked("mlflow", "http://host/?a=b"),)


def test_a_part_of_a_board_is_not_tracked(tracked_board: WrittenBoard) -> None:
    from benchmark.cli.main import main

    assert (
        main(["leaderboard", str(tracked_board.page.parent), "--filter", "library=torch", "--track", "tensorboard"])
        == 2
    )
