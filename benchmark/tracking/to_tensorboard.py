"""TensorBoard: event files in the results folder, written by the package ``tensorboard`` alone."""

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.image import metadata as image_plugin
from tensorboard.plugins.scalar import metadata as scalar_plugin
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from benchmark.atomic_files import inside
from benchmark.file_names import with_key
from benchmark.records.outcomes import Outcome
from benchmark.tracking.base import BoardFacts, Place, RunFacts, TrackedScore

FOLDER = "tensorboard"
_EVENTS = "events.out.tfevents."


class TensorBoardFiles:
    """Writes ``OUT/tensorboard/<run>/``, or the same below a folder that the user names.

    The file format is TensorBoard's own; its ``EventFileWriter`` is not used because it imports TensorFlow where that
    is installed.
    """

    def __init__(self, place: Place) -> None:
        self._root = Path(place.where).expanduser() if place.where else place.out / FOLDER
        self._files: dict[str, _Events] = {}

    def begin(self, run: RunFacts) -> int:
        """Open a run's file; one that begins anew takes the place of what is there."""
        is_open = run.key in self._files
        if is_open and not run.fresh:
            return 0
        if is_open:
            self._files.pop(run.key).close()
        events = self._files[run.key] = _Events(self._root, with_key(run.name, run.key))
        facts = hparams.hparams_pb(run.parameters, trial_id=run.key[:16])
        lines = [f"{name}: {value}" for name, value in {**run.parameters, **run.tags}.items()]
        events.add([*facts.value, _text("run", "\n\n".join(lines))])
        return 0

    def epoch(self, run: RunFacts, number: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self._files[run.key].add([_scalar(name, value) for name, value in values.items()], number)

    def scores(self, run: RunFacts, scores: Mapping[str, TrackedScore]) -> None:
        """Add the scores as points of their own, with a table of their intervals."""
        points = [_scalar(f"test/{name}", score.value) for name, score in scores.items()]
        self._files[run.key].add([*points, _text("scores", _table(scores))])

    def model(self, run: RunFacts, folder: Path) -> None:
        """Show the model's card, and where the model is: an event file holds no weights."""
        card = folder / "README.md"
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        self._files[run.key].add([_text("model", f"The model is in `{folder}`.\n\n{text.partition('---')[2]}")])

    def end(self, run: RunFacts, status: str) -> None:
        """Say how a run ended, and close its file."""
        ended = api_pb2.STATUS_SUCCESS if status == Outcome.OK else api_pb2.STATUS_FAILURE
        events = self._files.pop(run.key)
        events.add([_text("status", status), *hparams_end(ended).value])
        events.close()

    def board(self, board: BoardFacts) -> None:
        """Write the figures and the tables into a run of their own, ``board``."""
        events = _Events(self._root, "board")
        events.add([_image(path) for path in board.figures])
        tables = [_text(f"scores/{name}", _table(scores)) for name, scores in board.scores.items()]
        events.add([_text("answer", board.text), *tables])
        events.close()

    def close(self) -> None:
        """Close all files."""
        for events in self._files.values():
            events.close()
        self._files.clear()


class _Events:
    """One event file, of a run that has no other: earlier ones of it are removed.

    Args:
        root: the folder that TensorBoard is pointed to.
        name: of the run, and of its folder there.
    """

    def __init__(self, root: Path, name: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        path = inside(root, name, f"{_EVENTS}{time.time():.6f}.{socket.gethostname()}")
        for earlier in path.parent.glob(f"{_EVENTS}*"):
            earlier.unlink()
        self._stream = path.open("xb")
        self._records = RecordWriter(self._stream)
        self._write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, values: list[Any], step: int = 0) -> None:
        self._write(event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)))

    def close(self) -> None:
        self._stream.close()

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._stream.flush()


def hparams_end(status: int) -> Any:
    """Return the summary that closes a session of hyperparameters, as a message."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info, version=metadata.PLUGIN_DATA_VERSION)
    value = summary_pb2.Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary_pb2.Summary(value=[value])


def _scalar(tag: str, value: float) -> Any:
    tensor = tensor_util.make_tensor_proto(value, dtype="float32")
    described = scalar_plugin.create_summary_metadata(tag, "")
    return summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=described)


def _text(tag: str, text: str) -> Any:
    tensor = tensor_util.make_tensor_proto([text.encode()])
    described = text_plugin.create_summary_metadata(tag, "")
    return summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=described)


def _image(path: Path) -> Any:
    content = path.read_bytes()
    with Image.open(path) as picture:
        sides = [str(side).encode() for side in picture.size]
    tensor = tensor_util.make_tensor_proto([*sides, content])
    described = image_plugin.create_summary_metadata(path.stem, "")
    return summary_pb2.Summary.Value(tag=path.stem, tensor=tensor, metadata=described)


def _table(scores: Mapping[str, TrackedScore]) -> str:
    """Return scores as a table in Markdown."""
    lines = ["| score | value | 95 % interval |", "|---|---|---|"]
    for name, score in scores.items():
        interval = "" if score.low is None or score.high is None else f"{score.low:.4g} to {score.high:.4g}"
        lines.append(f"| {name} | {score.value:.6g} | {interval} |")
    return "\n".join(lines)
