"""Results as pandas frames, for analyses of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError, nearest
from benchmark.evaluation.metrics import decide
from benchmark.records.record import Record
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import Kind
from benchmark.reporting.board.columns import columns
from benchmark.reporting.board.flat_rows import board_lines, run_lines
from benchmark.reporting.board.pairs import RowPair, row_pairs
from benchmark.reporting.board.rows import Result
from benchmark.reporting.breakdown.cross_matrix import COLUMNS as CROSS_COLUMNS
from benchmark.reporting.breakdown.cross_matrix import cross_lines, cross_matrices
from benchmark.reporting.figures.labels import full_names
from benchmark.reporting.leaderboard import read_board
from benchmark.text import plain

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
_BESIDE = ("_sd", "_low", "_high")  # spreads and intervals, beside the columns of the table


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
        board: what the frames and the methods are made from.
    """

    runs: "pd.DataFrame"
    predictions: "pd.DataFrame"
    history: "pd.DataFrame"
    problems: tuple[str, ...]
    board: Board = field(repr=False, compare=False)

    def leaderboard(self) -> "pd.DataFrame":
        """Return the rows of the board in its order, with the columns of ``leaderboard.csv``; numbers are means over
        the runs of a row, and so of a floating type but for ``rank``, ``rank_last`` and ``n_runs``.
        """
        import pandas as pd

        board_columns = columns(self.board.class_names, self.board.tumour_names)
        types = {column.name: _TYPES[column.kind] for column in board_columns}
        types = {name: "float64" if kind == "Int64" else kind for name, kind in types.items()}
        types |= {
            "rank": "Int64",
            "rank_last": "Int64",
            "n_runs": "Int64",
            "seed": "string",
        }  # a row's seeds are text: 0,1,2
        lines = board_lines(self.board)
        types |= {name: "float64" for line in lines for name in line if name.endswith(_BESIDE) and name not in types}
        return pd.DataFrame(lines, columns=list(types), dtype=object).astype(types)

    def cross_matrix(self) -> "pd.DataFrame":
        """Return the cells of the cross matrix, with the columns of ``cross_matrix.csv``: a line for each network,
        set that trained and set that tested; none where nothing was crossed.
        """
        import pandas as pd

        return pd.DataFrame(cross_lines(cross_matrices(self.board)), columns=list(CROSS_COLUMNS))

    def compare(self, first: str, second: str) -> "Comparison":
        """Return how two rows differ, on the same test images.

        Args:
            first, second: names of rows: the backbone's where only one row has it, else the name by which the board
                tells rows of one backbone apart.

        Raises:
            UserError: no such row, a name that several rows have, or rows that are not in one block.
        """
        rows = [self._row(first), self._row(second)]
        for block in self.board.statistics:
            for pair in row_pairs(self.board, block).among(rows):
                return self._compared(pair, rows)
        raise UserError(
            f"'{first}' and '{second}' can't be compared: they are not two rows of one block (the same data, split "
            "and test images, and the same kind of weights)."
        )

    def _row(self, name: str) -> BoardRow:
        rows = self.board.rows
        names = full_names(rows)
        matches = [row for row, full in zip(rows, names, strict=True) if name in (full, row.values["backbone"])]
        if not matches:
            raise UserError(f"No row is named '{name}'.{nearest(name, names)} There are: {', '.join(names)}.")
        if len(matches) > 1:
            full = [
                full_name for row, full_name in zip(rows, names, strict=True) if any(row is each for each in matches)
            ]
            raise UserError(f"Several rows are named '{name}'; give one of: {', '.join(full)}.")
        return matches[0]

    def _compared(self, pair: RowPair, rows: Sequence[BoardRow]) -> "Comparison":
        compared = pair.compared
        sign = 1.0 if pair.rows[0] is rows[0] else -1.0
        bounds = sorted(sign * bound for bound in (compared.interval.low, compared.interval.high))
        return Comparison(
            difference=sign * compared.difference,
            low=bounds[0],
            high=bounds[1],
            p_adjusted=compared.p_adjusted,
            p_mcnemar=compared.p_mcnemar,
            better=pair.better,
            images=self._disagreements(rows),
        )

    def _disagreements(self, rows: Sequence[BoardRow]) -> "pd.DataFrame":
        """Return the test images that runs of two rows predict differently, runs of the same seed side by side."""
        test = self.predictions[self.predictions["part"] == "test"]
        seeds = self.runs.set_index("key")["seed"]
        sides = []
        for row in rows:
            own = test[test["key"].isin([result.record.key for result in row.results])]
            own = own.assign(seed=own["key"].map(seeds).astype("Int64"))
            sides.append(own[["seed", "image_id", "label", "predicted", "correct"]])
        both = sides[0].merge(sides[1], on=["seed", "image_id", "label"], suffixes=("_first", "_second"))
        return both[both["predicted_first"].astype(str) != both["predicted_second"].astype(str)].reset_index(
            drop=True
        )


@dataclass(frozen=True)
class Comparison:
    """How two rows of a block differ.

    Args:
        difference: macro-F1 of the first less that of the second.
        low, high: its 95 % interval, not corrected for the other pairs.
        p_adjusted: p-value of the paired bootstrap, corrected for all pairs of the block by Romano and Wolf's
            step-down.
        p_mcnemar: p-value of McNemar's test of accuracy, not corrected.
        better: name of the row that is significantly better, empty where they can't be told apart.
        images: a line per seed and test image that the two predict differently: ``seed``, ``image_id``, ``label``,
            ``predicted_first``, ``correct_first``, ``predicted_second``, ``correct_second``.
    """

    difference: float
    low: float
    high: float
    p_adjusted: float
    p_mcnemar: float
    better: str
    images: "pd.DataFrame"

    def text(self, first: str, second: str, most: int = 20) -> str:
        """Return the comparison in lines.

        Args:
            first, second: what the two rows are called in it.
            most: at most so many of the images are listed.
        """
        images = self.images
        lines = [
            f"macro-F1 of {first} less that of {second}: {self.difference:+.3f} "
            f"(95 % interval {self.low:+.3f} to {self.high:+.3f})",
            f"paired bootstrap, corrected for all pairs of the block: p = {self.p_adjusted:.2g}",
            f"McNemar's test of accuracy, not corrected: p = {self.p_mcnemar:.2g}",
            f"significantly better: {self.better}" if self.better else "The test images can't tell them apart.",
            f"They predict {len(images):,} test images differently (the first is right in "
            f"{int(images['correct_first'].sum()):,}, the second in {int(images['correct_second'].sum()):,}; each "
            f"seed counts).",
        ]
        if len(images):
            shown = images.head(most).drop(columns=["correct_first", "correct_second"]).astype(str)
            lines += ["", shown.map(plain).to_string(index=False)]
        if len(images) > most:
            lines.append(
                f"... and {len(images) - most:,} more: --json, or Results.compare in Python, has all of them."
            )
        return "\n".join(lines)


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
    return Results(runs, predictions, _history(ordered), board.problems, board)


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
