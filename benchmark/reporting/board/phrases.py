"""Sentences and numbers that every output says alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmark.evaluation.bootstrap import RESAMPLES, SEEDS_TO_RESAMPLE
from benchmark.evaluation.comparison import ALPHA
from benchmark.evaluation.decisions.net_benefit import PREVALENCE
from benchmark.evaluation.statistics import BlockStatistics, SeedEffect
from benchmark.grouping import grouped
from benchmark.records.record import DataFacts
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.column import Column

SMALLEST_P = 1e-4  # of those that are printed
LEAKS = "The split leaks: "  # how a note on what is on both sides begins
DISCLAIMER = "Research software, not for clinical use."
CAM_READING = (
    "Heat maps (Grad-CAM, where no other method is named) of the predicted class, on test images with a lesion. "
    "Pointing game: whether the map's highest point lies in the lesion. Energy: the share of the map inside the "
    "lesion. IoU: how far the highest points of the map, as many pixels as the lesion has, overlap with the lesion. "
    "The lesion itself, averaged to a map's size, shows the most that a map of that size can reach. The lines below "
    "it are maps that know nothing of the image: a network that is not better than these has not been shown to look "
    "at the lesion."
)
DEPENDENCE_READING = (
    "Patients are unknown, so that images depend on each other in ways that can't be seen, and the intervals above "
    "are too narrow. Here they are again, as wide as they would be if the test images were worth only a half "
    "(design effect 2) or a quarter (design effect 4) of their number (Kish 1965). Five slices a patient, whose "
    "errors correlate by 0.25 or 0.75, have such design effects."
)
SELECTIVE_READING = (
    "A network that is not sure may leave an image to a radiologist. AURC: the mean share of wrong answers over all "
    "shares of images that it answers, the surest first (Geifman & El-Yaniv 2017). Coverage at 5 % risk: the "
    "largest share that it answers with at most 5 % wrong; the threshold is that of these test images, and would be "
    "another one elsewhere. A conformal set is a list of classes, made to hold the true class of 90 % of each "
    "class's images where test images are like validation images (Vovk 2012): how often it does on these images "
    "stands here."
)
BENEFIT_READING = (
    "The share of images that are tumours found, less the share that are false alarms, which count as much as the "
    "threshold says (Vickers & Elkin 2006): at a threshold of 5 %, a missed tumour is 19 times as bad as a false "
    f"alarm. The prevalence is set to {100 * PREVALENCE:.0f} %; it is not that of these images. First come the "
    "probabilities as they are, then with a temperature chosen on validation images (Guo et al. 2017), then "
    "corrected for that prevalence too (Saerens et al. 2002)."
)
RANDOMIZED_READING = (
    "Left when randomised: the trained weights are replaced by new random ones, and the new maps are compared with "
    "the old ones (rank correlation; Adebayo et al. 2018). Near 1, the maps do not show what the network has learned."
)


def data_notes(rows: Sequence[BoardRow]) -> list[str]:
    """Return the short sentences that a reader must see first: on a comparison group's data, and on leaks."""
    data = rows[0].first.record.data
    folds = len({result.record.data.split_hash for result in rows[0].results})
    notes = []
    if data.synthetic:
        notes.append("The images are synthetic: no conclusion about patients can be drawn.")
    train, validation, tested = (rows[0].values[name] for name in ("n_train", "n_validation", "n_test"))
    sizes = (
        f"{train} images to train, {validation} to validate (mean of {folds} folds); each of {tested} images is "
        "tested once."
        if folds > 1
        else f"{train} images to train, {validation} to validate{_chooses(rows)}, {tested} to test."
    )
    notes.append(sizes + (f" The class without a tumour is {data.negative_class}." if data.negative_class else ""))
    notes.append(patient_note(data))
    if data.grouping:
        notes.append(f"{data.grouping[0].upper()}{data.grouping[1:]}.")
    leaks = dict.fromkeys(leak for row in rows for result in row.results for leak in result.record.data.leaks)
    notes += [f"{LEAKS}{leak.removesuffix('.')}." for leak in leaks]
    if data.limit is not None:
        notes.append(f"Limited to {data.limit} images: not comparable with the whole data set.")
    guesses = sum(row.guessed for row in rows)
    if guesses:
        verb = "is" if guesses == 1 else "are"
        notes.append(f"{guesses} of {len(rows)} rows {verb} not shown to be better than guessing.")
    return notes


def notes_beside_doubts(rows: Sequence[BoardRow]) -> list[str]:
    """Return the notes of :func:`data_notes` but those that stand among the doubts too: on patients and leaks."""
    patients = patient_note(rows[0].first.record.data)
    return [note for note in data_notes(rows) if note != patients and not note.startswith(LEAKS)]


def _chooses(rows: Sequence[BoardRow]) -> str:
    """Return in brackets whether the validation images choose the epoch that is kept, as a recipe may ask."""
    recipes = [row.first.record.recipe for row in rows]  # which all runs of a row share
    by_them = {recipe.early_stopping.restore_best for recipe in recipes if recipe is not None}
    if by_them == {True}:
        return " (the epoch is chosen by them)"
    return " (of some rows the epoch is chosen by them)" if True in by_them else ""


def patient_note(data: DataFacts) -> str:
    """Return whether patients are kept apart."""
    if not data.grouped:
        return (
            "Patients are unknown: slices of one patient may be on both sides of the split, so that scores may be "
            "too high, and intervals are too narrow."
        )
    return "Patients are known." if data.leaks else "No patient is on both sides of the split."


def rank_text(row: BoardRow, dash: str = "-") -> str:
    """Return the ranks that a row may have: ``2``, ``1-3``; empty where it is not ranked."""
    if row.ranks is None:
        return ""
    first, last = row.ranks.first, row.ranks.last
    return str(first) if first == last else f"{first}{dash}{last}"


def standing(row: BoardRow, statistics: BlockStatistics) -> str:
    """Return what a rank says: ``best``, ``tied for best``, ``3 rows better``; empty without a rank or a rival.

    Args:
        statistics: those of the row's block.
    """
    ranked = [ranks.first for ranks in statistics.ranks if ranks is not None]
    if row.rank is None or len(ranked) < 2:
        return ""
    if row.rank == 1:
        return "tied for best" if ranked.count(1) > 1 else "best"
    return f"{row.rank - 1} {'row' if row.rank == 2 else 'rows'} better"


def p_text(value: float | None) -> str:
    """Return a p-value as people read it; below 1e-4 it says only that: such small ones rest on a model of tails."""
    if value is None:
        return ""
    if value < SMALLEST_P:
        return f"<{SMALLEST_P:.4f}"
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def one_class(column: Column, row: BoardRow) -> str:
    """Return what must be said beside a count of missed tumours: that the row answers one class for every image.

    It is empty for other columns and rows. A row that calls everything a tumour misses none, which looks best;
    the name of a row without a network says it already.
    """
    counts = column.name.startswith("missed_") and column.class_name and row.block.unranked != ("no network",)
    return f"answers '{row.only_answer}' for every image" if counts and row.only_answer else ""


def block_notes(blocks: Mapping[str, BlockStatistics], say: Callable[[BlockStatistics], Iterable[str]]) -> list[str]:
    """Return what is said of the blocks of a comparison group, each sentence once.

    Args:
        blocks: by their place in the comparison group; a sentence that is not true of all names those that it is
            true of.
        say: returns the sentences on one block.
    """
    places_of = grouped((sentence, place) for place, statistics in blocks.items() for sentence in say(statistics))
    return [
        sentence if len(places) == len(blocks) else f"{' and '.join(places)}: {sentence}"
        for sentence, places in places_of.items()
    ]


def seed_notes(statistics: BlockStatistics) -> list[str]:
    """Return of what a block's ranks are where there are too few seeds to speak of backbones; else nothing."""
    if statistics.seeds >= SEEDS_TO_RESAMPLE:
        return []
    runs = "One seed" if statistics.seeds == 1 else f"{statistics.seeds} seeds"
    resampled, rows = len(_seed_effects(statistics)), len(statistics.seed_effects)
    where = f" in {rows - resampled} of {rows} rows" if resampled else ""
    return [f"{runs}{where}: the {_ranking(statistics)} are of these trained models, not of these backbones."]


def _seed_effects(statistics: BlockStatistics) -> list[SeedEffect]:
    return [effect for effect in statistics.seed_effects if effect is not None]


def _seeds_added(statistics: BlockStatistics) -> list[str]:
    """Return what seeds add to the uncertainty of a block's rows; nothing where none are resampled."""
    effects, rows = _seed_effects(statistics), len(statistics.seed_effects)
    if not effects:
        return []
    where = f", in {len(effects)} of {rows} rows" if len(effects) < rows else ""
    spreads = _range([f"{effect.spread:.3f}" for effect in effects])
    shares = _range([f"{100 * effect.share:.0f} %" for effect in effects])
    return [
        f"Seeds are resampled too{where}: macro-F1 varies over them by {spreads} (standard deviation), which is "
        f"{shares} of the variance behind a row's interval; the rest comes from the test images."
    ]


def _range(numbers: Sequence[str]) -> str:
    """Return the least and the greatest of printed numbers, or the one that all are."""
    least, most = (end(numbers, key=lambda text: float(text.split()[0])) for end in (min, max))
    return least if least == most else f"{least} to {most}"


def _ranking(statistics: BlockStatistics) -> str:
    return "scores" if all(rank is None for rank in statistics.ranks) else "ranks"


def rank_notes(statistics: BlockStatistics, data: DataFacts) -> list[str]:
    """Return what a reader must know of a block's intervals and ranks."""
    unranked = _ranking(statistics) == "scores"
    both = "Intervals" if unranked else "Intervals and ranks"
    if data.grouped:
        notes = [f"{both} are computed from {statistics.clusters} patients ({statistics.n_test} images)."]
    elif statistics.clusters < statistics.n_test:
        notes = [
            f"{both} are computed from {statistics.clusters} clusters of copies (identical and nearly identical "
            f"images). Patients are unknown, so that intervals are too narrow."
        ]
    else:
        notes = ["Patients are unknown: intervals treat images as independent and are too narrow."]
    if statistics.folds > 1:
        notes.append("Each image is read by the network of its fold; AUROC is the mean of folds.")
    notes += _seeds_added(statistics)
    if any(ranks is not None and ranks.first < ranks.last for ranks in statistics.ranks):
        notes.append(
            "A rank such as 1-3 means that the row may be first, second or third: these images do not tell which. "
            "With 95 % confidence this holds for all rows at once."
        )
    if unranked:
        notes.append("Rows have no rank because the split leaks; differences are of these test images.")
    if statistics.pairs:
        smallest = float(statistics.pairs.p_adjusted.min())
        pairs = f"{len(statistics.pairs)} pairs" if len(statistics.pairs) > 1 else "one pair"
        notes.append(
            f"Rows differ where the paired bootstrap of macro-F1 ({RESAMPLES} resamples, Student's t) gives a p "
            f"below {ALPHA} after Romano and Wolf's step-down correction for {pairs}; the smallest p is "
            f"{p_text(smallest).removeprefix('<') if smallest >= SMALLEST_P else 'below ' + p_text(SMALLEST_P)}."
        )
    return notes
