"""The board: runs gathered into rows, rows into blocks, and ranks given within each block."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from benchmark.data.preparation.shared_work import ShareOut, done_here
from benchmark.evaluation.comparison import RankInterval
from benchmark.evaluation.costs import Costs
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.many_rows.kept_statistics import NOTHING_KEPT, KeptStatistics
from benchmark.evaluation.permutation import ChanceTest
from benchmark.evaluation.predictions import Setting
from benchmark.evaluation.statistics import BlockStatistics, analyse
from benchmark.grouping import grouped
from benchmark.hashing import hash_json
from benchmark.reporting.board.cam_scores import cam_intervals
from benchmark.reporting.board.column import WHO, Values
from benchmark.reporting.board.columns import measures
from benchmark.reporting.board.derived_scores import cost_of, patient_intervals, trained_shares
from benchmark.reporting.board.folds import Averages, even, failure, predictions_by_fold, split_label
from benchmark.reporting.board.guessing import guessed, only_answer, verdict
from benchmark.reporting.board.recipe_labels import recipe_labels
from benchmark.reporting.board.rows import Result

NAMED_BY = tuple(name for name in WHO if name != "comparison_group")  # which row of a comparison group it is


@dataclass(frozen=True)
class Block:
    """Rows that may be compared: same data, split, image set, and pretrained or scratch weights.

    Args:
        comparison_group: identity of data, split and image set, without the weights.
        comparison_group_name: its name for people (``phantom, holdout``), unique on the board.
        pretrained: ``None`` for failed rows, where it does not matter.
        unranked: why its rows have no rank (``leak``, ``fell back``, ``incomplete``, ``failed``), else empty.
    """

    comparison_group: str
    comparison_group_name: str
    pretrained: bool | None
    unranked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people: ``phantom, holdout, pretrained``."""
        return f"{self.comparison_group_name}, {self.place}"

    @property
    def place(self) -> str:
        """Where it stands within its comparison group: ``pretrained``, ``scratch, leak`` ..."""
        weights = {True: ("pretrained",), False: ("scratch",), None: ()}[self.pretrained]
        return ", ".join((*weights, *self.unranked))


@dataclass(frozen=True)
class BoardRow:
    """One line of the leaderboard: a backbone with its recipe, data, split and weights, seeds and folds aggregated.

    Args:
        results: its runs, by seed and fold.
        values: means over the scored runs, and what all runs share.
        spread: sample standard deviations over the scored runs, where there is more than one.
        ranks: those that it may have in its block; ``None`` where it is not ranked.
        intervals: 95 % intervals by column name.
        chance: its test against guessing, ``None`` where it could not be made.
    """

    results: tuple[Result, ...]
    values: Values
    spread: Values
    block: Block
    ranks: RankInterval | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    chance: ChanceTest | None = None

    @property
    def first(self) -> Result:
        """A run to ask for what all runs share, scored where there is one."""
        return next((result for result in self.results if result.scores), self.results[0])

    @property
    def rank(self) -> int | None:
        """1 + the number of rows of its block that are significantly better; ``None`` where it is not ranked."""
        return None if self.ranks is None else self.ranks.first

    @cached_property
    def line(self) -> Values:
        """The row as a flat line: spreads under ``<column>_sd``, intervals under ``<column>_low`` and ``_high``."""
        return {
            **self.values,
            **{f"{name}_sd": value for name, value in self.spread.items()},
            **{f"{name}_low": interval.low for name, interval in self.intervals.items()},
            **{f"{name}_high": interval.high for name, interval in self.intervals.items()},
            "block": self.block.name,
            "rank": self.rank,
            "rank_last": None if self.ranks is None else self.ranks.last,
        }

    @cached_property
    def only_answer(self) -> str:
        """The class that it answers for every test image, empty where it answers several."""
        return only_answer(self.results)

    @cached_property
    def guessed(self) -> bool:
        """Whether it answers one class, or is not shown to be better than guessing."""
        return bool(verdict(self.only_answer, self.chance))

    @property
    def who(self) -> Values:
        """What tells it from other rows, under :data:`~benchmark.reporting.board.column.WHO`."""
        values = {**self.values, "comparison_group": self.block.comparison_group_name}
        return {name: values.get(name) for name in WHO}

    @property
    def eligible(self) -> bool:
        """Whether it may be called the best: better than guessing, whole, from the weights that were asked for."""
        return bool(self.values["n_runs"]) and self.block.unranked in ((), ("leak",)) and not self.guessed

    @property
    def macro_f1(self) -> float:
        """Mean macro-F1, ``nan`` without scored runs."""
        return float(self.values.get("macro_f1", math.nan))


@dataclass(frozen=True)
class Board:
    """All runs, and all rows in the order in which they are shown.

    Args:
        problems: a sentence for each record that is not used.
        statistics: those of each ranked block by its name; its rows are numbered by macro-F1, the highest first.
        references: by comparison group, rows without a network, which are not ranked.
        hidden: rows that were compared with the others and are not shown.
        columns: those to be shown, empty where nothing was chosen.
        notes: sentences about what is shown.
    """

    results: tuple[Result, ...]
    rows: tuple[BoardRow, ...]
    problems: tuple[str, ...] = ()
    statistics: Mapping[str, BlockStatistics] = field(default_factory=dict)
    references: Mapping[str, tuple[BoardRow, ...]] = field(default_factory=dict)
    hidden: tuple[BoardRow, ...] = ()
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def ranked(self, block: str) -> list[BoardRow]:
        """Return a block's rows by macro-F1, the highest first: the order in which its statistics number them."""
        members = [row for row in (*self.rows, *self.hidden) if row.block.name == block]
        return sorted(members, key=_standing)

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes that occur, in the order of their data sets."""
        return tuple(dict.fromkeys(name for result in self.results for name in result.record.data.class_names))

    @property
    def tumour_names(self) -> tuple[str, ...]:
        """The classes that can be missed: those of data sets with a negative class, but that class itself."""
        return tuple(dict.fromkeys(name for result in self.results for name in result.record.data.tumour_names))

    def judged(self, rows: Sequence[BoardRow]) -> dict[str, BlockStatistics]:
        """Return the statistics of a comparison group's blocks, as far as they have any, by place in the group."""
        places = {row.block.place: row.block.name for row in rows}
        return {place: self.statistics[name] for place, name in places.items() if name in self.statistics}

    def comparison_groups(self) -> list[tuple[BoardRow, ...]]:
        """Return the rows by comparison group (data, split and image set), in order."""
        names = dict.fromkeys(row.block.comparison_group for row in self.rows)
        return [tuple(row for row in self.rows if row.block.comparison_group == name) for name in names]


def make_board(
    results: Iterable[Result],
    problems: Sequence[str] = (),
    costs: Costs | None = None,
    kept: KeptStatistics = NOTHING_KEPT,
    share_out: ShareOut = done_here,
) -> Board:
    """Gather runs into rows, and rank them.

    Args:
        results: of all runs.
        problems: a sentence for each record that is not used.
        costs: what each error costs.
        kept: statistics that were computed before.
        share_out: has the runs of rows averaged, by one process or by two.

    Raises:
        UserError: the costs name a class that no data set has.
    """
    ordered = [_with_cost(result, costs) for result in _agreeing(sorted(results, key=_run_order))]
    labels = recipe_labels(ordered)
    gathered = grouped((result.row_key, result) for result in ordered)
    averages = share_out(Averages(), list(gathered.values()))
    rows = [_row(runs, labels[key], *of_row) for (key, runs), of_row in zip(gathered.items(), averages, strict=True)]
    rows, statistics = _judged(_named(rows), costs, kept)
    board = Board(tuple(ordered), tuple(sorted(rows, key=_row_order)), tuple(problems), statistics)
    if costs is not None:
        costs.check(board.class_names)
        board = replace(board, notes=(costs.sentence(),))
    return board


def _with_cost(result: Result, costs: Costs | None) -> Result:
    if result.scores is None or costs is None:
        return result
    cost = cost_of(result.record, result.scores.test, costs)
    return replace(result, score_values={**result.score_values, **cost})


def _agreeing(results: Sequence[Result]) -> list[Result]:
    """Take the scores from runs whose test images, labels or groups are not those of most runs on the same split."""
    signed: dict[str, tuple[str, str]] = {}
    read: dict[tuple[int, ...], str] = {}
    for result in results:
        if result.scores is not None and result.predictions is not None:
            shared = tuple(
                id(getattr(result.predictions, name)) for name in ("image_ids", "parts", "labels", "groups")
            )
            if shared not in read:  # most runs share these arrays, which live as long as the results
                test = result.predictions.part("test")
                order = test.image_ids.argsort()
                read[shared] = hash_json(
                    [values[order].tolist() for values in (test.image_ids, test.labels, test.groups)]
                )
            data, images = result.record.data, result.record.identity.get("images_hash")
            group = hash_json([data.fingerprint, data.class_names, data.split_hash, data.limit, images])
            signed[result.record.key] = group, read[shared]
    signs: dict[str, Counter[str]] = {}
    for group, sign in signed.values():
        signs.setdefault(group, Counter())[sign] += 1
    kept = []
    for result in results:
        group, sign = signed.get(result.record.key, ("", ""))
        if group and sign != signs[group].most_common(1)[0][0]:
            why = (
                f"The test images, labels or patients of record {result.record.key[:12]} are not those of the other "
                f"runs on this split; delete it and run it again."
            )
            result = replace(result, scores=None, problem=why, score_values={})
        kept.append(result)
    return kept


def _row(results: Sequence[Result], recipe: str, values: Values, spread: Values) -> BoardRow:
    """Return a row from its runs.

    Args:
        recipe: what its recipe is called.
        values, spread: as :func:`~benchmark.reporting.board.folds.aggregated` gives them.
    """
    scored = [result for result in results if result.scores]
    values |= {
        "recipe": recipe,
        "split": split_label(results, scored),
        "seed": " ".join(str(seed) for seed in sorted({result.record.seed for result in results})),
        "n_runs": len(scored),
    }
    values.pop("reason", None)
    values |= failure(results)
    if len(results) > 1:
        for name in ("key", "best_epoch", "n_epochs"):
            values.pop(name, None)
    return BoardRow(tuple(results), values, spread, _block(results, scored))


def _block(results: Sequence[Result], scored: Sequence[Result]) -> Block:
    record = (scored or results)[0].record
    comparison_group = hash_json(
        [
            record.data.fingerprint,
            record.data.class_names,
            record.data.limit,
            sorted({(each.record.data.split_hash, str(each.record.identity.get("images_hash"))) for each in results}),
        ]
    )
    if not scored:
        return Block(comparison_group, "", None, ("failed",))
    why = []
    if any(result.record.data.leaks for result in results):
        why.append("leak")
    if record.weights.fell_back:
        why.append("fell back")
    if len(scored) < len(results) or not even(scored):
        why.append("incomplete")
    return Block(comparison_group, "", record.weights.used != "none", tuple(why))


def _named(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Name each comparison group; those that would share a name are told apart by a few digits of their hash."""
    names: dict[str, str] = {}
    for row in rows:
        data = row.first.record.data
        limit = "" if data.limit is None else f", limit {data.limit}"
        names.setdefault(row.block.comparison_group, f"{data.name}, {split_label(row.results, row.results)}{limit}")
    counts = Counter(names.values())
    unique = {group: name if counts[name] == 1 else f"{name} #{group[:6]}" for group, name in names.items()}
    blocks = [replace(row.block, comparison_group_name=unique[row.block.comparison_group]) for row in rows]
    return [replace(row, block=block) for row, block in zip(rows, blocks, strict=True)]


def _judged(
    rows: Sequence[BoardRow], costs: Costs | None, kept: KeptStatistics
) -> tuple[list[BoardRow], dict[str, BlockStatistics]]:
    """Give rows their intervals, and those of each block that is ranked their ranks."""
    judged: list[BoardRow] = []
    statistics: dict[str, BlockStatistics] = {}
    for block in dict.fromkeys(row.block for row in rows):
        members = [row for row in rows if row.block == block]
        if block.pretrained is None:
            judged += members
        elif block.unranked not in ((), ("leak",)):
            # each by itself: a row that is not whole was not read on the images of the others
            judged += [alone(row, costs, kept) for row in members]
        else:
            members.sort(key=_standing)
            of_block = _analysed(members, costs, kept)
            if block.unranked:  # where all rows saw the same leak they can be compared; a rank would say more
                of_block = replace(of_block, ranks=(None,) * len(members))
            statistics[block.name] = of_block
            judged += [_with_statistics(row, of_block, number) for number, row in enumerate(members)]
    return judged, statistics


def alone(row: BoardRow, costs: Costs | None, kept: KeptStatistics = NOTHING_KEPT) -> BoardRow:
    """Return a row with its intervals and its test against guessing, compared with no other and without a rank."""
    return _with_statistics(row, replace(_analysed([row], costs, kept), ranks=(None,)), 0)


def _with_statistics(row: BoardRow, of_block: BlockStatistics, number: int) -> BoardRow:
    """Return a row with what the statistics of its block say of it.

    Args:
        number: of the row within them.
    """
    intervals, chance = of_block.intervals[number], of_block.chance[number]
    patients = patient_intervals(row.values, row.first.record.data)
    of_maps = cam_intervals([result.cam_scores for result in row.results if result.scores is not None])
    remark = guessed(row.results, row.only_answer, chance)
    values = dict(row.values) if chance is None else {**row.values, "p_guessing": chance.p_better}
    return replace(
        row,
        values={"reason": remark, **values} if remark else values,
        ranks=of_block.ranks[number],
        intervals={**intervals, **patients, **of_maps},
        chance=chance,
    )


def _standing(row: BoardRow) -> tuple[float, str]:
    return -row.macro_f1, row.first.row_key


def _analysed(rows: Sequence[BoardRow], costs: Costs | None, kept: KeptStatistics) -> BlockStatistics:
    shares = [trained_shares(row.first.record) for row in rows]
    return analyse(
        [predictions_by_fold(row.results) for row in rows], setting_of(rows[0], costs), shares=shares, kept=kept
    )


def setting_of(row: BoardRow, costs: Costs | None = None) -> Setting:
    """Return what the statistics need to know of a row's comparison group."""
    data = row.first.record.data
    return Setting(
        data.class_names,
        data.negative_class,
        n_train=row.values["n_train"],
        n_test=data.n_test,
        grouped=data.grouped,
        measures=measures(),
        costs=None if costs is None else costs.matrix(data.class_names),
    )


def _run_order(result: Result) -> tuple[Any, ...]:
    record = result.record
    return (record.data.name, record.backbone.name, record.recipe_name, record.seed, record.data.split, record.key)


def _row_order(row: BoardRow) -> tuple[Any, ...]:
    """Comparison groups by name; within one the ranked blocks first, then by macro-F1."""
    data, block = row.first.record.data, row.block
    group = data.name, block.comparison_group_name, data.limit or math.inf, block.comparison_group
    last = {True: 0, False: 1, None: 2}[block.pretrained]
    score = math.inf if math.isnan(row.macro_f1) else -row.macro_f1
    return (*group, bool(block.unranked), last, block.name, row.rank or math.inf, score, row.values["backbone"])
