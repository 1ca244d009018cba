"""Results as pandas frames, for analyses of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.evaluation.metrics import decide
from benchmark.records.record import Record
from benchmark.reporting.board.flat_rows import run_lines
from benchmark.reporting.board.rows import WHO, Result, Row, columns
from benchmark.reporting.leaderboard import read_board

if TYPE_CHECKING:
    import pandas as pd

_TRUTHS = ("fell_back", "synthetic", "grouped")
_WHOLE = (
    *("rank", "seed", "n_runs", "batch_size", "size", "limit", "n_train", "n_validation", "n_test", "patients"),
    *("best_epoch", "n_epochs", "fold", "folds", "cam_images"),
)
_COUNTS = ("fn_", "missed_", "support_", "patient_fn_", "patient_missed_", "patient_support_")
_WORDS = (
    *(name for name in WHO if name not in _WHOLE),
    *("status", "reason", "device", "speed_block", "precision", "weights_policy", "leaks", "note", "parity", "key"),
    "run_note",
)


@dataclass(frozen=True)
class Results:
    """What one results folder holds, or several, as tidy frames that share the column ``key``.

    Args:
        runs: a line per run, those that failed included, with the columns of ``runs.csv``, ``fold``,
            ``folds``, and ``run_note``, the text of ``--note``.
        predictions: a line per run and image: ``key``, ``part`` (``validation`` or ``test``), ``image_id``, ``group``
            (the patient; missing where unknown), ``label`` and ``predicted`` (names of classes), ``correct``, and the
            probability of each class, float32, under ``p_<class>`` (missing where a data set has no such class).
        history: a line per run and epoch: ``key``, ``epoch``, ``learning_rate``, ``train_loss``, ``val_loss`` (nats),
            ``val_macro_f1`` (0-1), ``seconds``, ``best``.
        problems: a sentence for each record that is not used.
    """

    runs: "pd.DataFrame"
    predictions: "pd.DataFrame"
    history: "pd.DataFrame"
    problems: tuple[str, ...]


def load_results(*folders: Path | str) -> Results:
    """Read results folders, several as one; see :func:`benchmark.load_results`.

    Raises:
        UserError: no folder is named, one does not exist, or one has no record at all.
    """
    import pandas as pd

    paths = [Path(folder) for folder in folders]
    if not paths:
        raise UserError("load_results needs a folder: give the one that was --out of a run.")
    for path in paths:
        if not path.is_dir():
            raise UserError(f"There is no folder '{path}'; give the folder that was --out of a run.")
    board = read_board(*paths)
    ordered = [result for row in board.rows for result in row.results]
    lines = [
        {**line, **_beside_the_board(result.record)} for line, result in zip(run_lines(board), ordered, strict=True)
    ]
    names = [*columns(board.class_names, board.tumour_names), "fold", "folds", "run_note"]
    read = [_predictions(result, board.class_names) for result in ordered if result.predictions is not None]
    predictions = pd.concat(read, ignore_index=True) if read else _nothing(board.class_names)
    for name in ("key", "part", "label", "predicted"):
        predictions[name] = predictions[name].astype("category")
    return Results(_typed(lines, names), predictions, _history(ordered), board.problems)


def _beside_the_board(record: Record) -> Row:
    """Return what ``runs`` has of a record and ``runs.csv`` has not."""
    note = None if record.settings is None else record.settings.note or None
    return {"fold": record.data.fold, "folds": record.data.folds, "run_note": note}


def _typed(lines: Sequence[Row], names: Sequence[str]) -> "pd.DataFrame":
    """Return lines with a type for each column: integers and truths that may be missing, text, floats."""
    import pandas as pd

    frame = pd.DataFrame(list(lines), columns=list(names), dtype=object)
    for name in names:
        kind: Any
        if name in _TRUTHS:
            kind = "boolean"
        elif name in _WHOLE or name.startswith(_COUNTS):
            kind = "Int64"
        else:
            kind = "string" if name in _WORDS else "float64"
        frame[name] = frame[name].astype(kind)
    return frame


def _predictions(result: Result, class_names: Sequence[str]) -> "pd.DataFrame":
    """Return one run's predictions; those that can't be scored are there too."""
    import numpy as np
    import pandas as pd

    said, own = result.predictions, result.record.data.class_names
    assert said is not None
    names = np.array(own, dtype=object)
    frame = pd.DataFrame(
        {
            "key": result.record.key,
            "part": said.parts.astype(object),
            "image_id": pd.array(said.image_ids.tolist(), dtype="string"),
            "group": pd.array([group or None for group in said.groups.tolist()], dtype="string"),
            "label": names[said.labels],
            "predicted": names[decide(said.probabilities)],
            "correct": decide(said.probabilities) == said.labels,
        }
    )
    for name in class_names:
        missing: Any = np.full(len(said.labels), np.nan, dtype=np.float32)
        frame[f"p_{name}"] = said.probabilities[:, own.index(name)] if name in own else missing
    return frame


def _nothing(class_names: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    kinds = {"key": "object", "part": "object", "image_id": "string", "group": "string"}
    kinds |= {"label": "object", "predicted": "object", "correct": "bool"}
    kinds |= {f"p_{name}": "float32" for name in class_names}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _history(results: Sequence[Result]) -> "pd.DataFrame":
    import pandas as pd

    from benchmark.records.record import Epoch

    lines = [
        {"key": result.record.key, **epoch.model_dump(), "best": epoch.epoch == result.record.best_epoch}
        for result in results
        for epoch in result.record.history
    ]
    frame = pd.DataFrame(lines, columns=["key", *Epoch.model_fields, "best"])
    kinds = {"key": "category", "epoch": "int64", "best": "bool"}
    return frame.astype({name: kinds.get(name, "float64") for name in frame.columns})
