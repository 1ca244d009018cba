"""Results as pandas frames, for analyses of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.evaluation.metrics import decide
from benchmark.records.record import Record
from benchmark.reporting.board.column import Kind
from benchmark.reporting.board.columns import columns
from benchmark.reporting.board.flat_rows import run_lines
from benchmark.reporting.board.rows import Result
from benchmark.reporting.leaderboard import read_board

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {
    Kind.TEXT: "string",
    Kind.TRUTH: "boolean",
    Kind.WHOLE: "Int64",
    Kind.COUNT: "Int64",
    Kind.SCORE: "float64",
    Kind.NUMBER: "float64",
}


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
    types = {column.name: _TYPES[column.kind] for column in columns(board.class_names, board.tumour_names)}
    types |= {"fold": "Int64", "folds": "Int64", "run_note": "string"}
    # dtype object first: an integer column with gaps stays one of integers
    runs = pd.DataFrame(lines, columns=list(types), dtype=object).astype(types)
    read = [_predictions(result, board.class_names) for result in ordered if result.predictions is not None]
    predictions = pd.concat(read, ignore_index=True) if read else _nothing(board.class_names)
    for name in ("key", "part", "label", "predicted"):
        predictions[name] = predictions[name].astype("category")
    return Results(runs, predictions, _history(ordered), board.problems)


def _beside_the_board(record: Record) -> dict[str, Any]:
    """Return what ``runs`` has of a record and ``runs.csv`` has not."""
    note = None if record.settings is None else record.settings.note or None
    return {"fold": record.data.fold, "folds": record.data.folds, "run_note": note}


def _predictions(result: Result, class_names: Sequence[str]) -> "pd.DataFrame":
    """Return one run's predictions; those that can't be scored are there too."""
    import numpy as np
    import pandas as pd

    predictions, own = result.predictions, result.record.data.class_names
    assert predictions is not None
    names = np.array(own, dtype=object)
    frame = pd.DataFrame(
        {
            "key": result.record.key,
            "part": predictions.parts.astype(object),
            "image_id": pd.array(predictions.image_ids.tolist(), dtype="string"),
            "group": pd.array([group or None for group in predictions.groups.tolist()], dtype="string"),
            "label": names[predictions.labels],
            "predicted": names[decide(predictions.probabilities)],
            "correct": decide(predictions.probabilities) == predictions.labels,
        }
    )
    for name in class_names:
        missing: Any = np.full(len(predictions.labels), np.nan, dtype=np.float32)
        frame[f"p_{name}"] = predictions.probabilities[:, own.index(name)] if name in own else missing
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
