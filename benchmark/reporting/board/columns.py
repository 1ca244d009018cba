"""The one table of columns: every fact and score of the leaderboard is declared here once, and every output reads it.

A new metric is one function in :mod:`benchmark.evaluation`, its test, and one entry in :data:`COLUMNS`. The order of
the entries is the order of the columns in every output.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Literal

from benchmark.evaluation import cam_metrics, metrics
from benchmark.evaluation.bootstrap import Measure
from benchmark.evaluation.calibration import brier, reliability
from benchmark.evaluation.decisions.net_benefit import PREVALENCE, THRESHOLDS, bounds, column_name
from benchmark.evaluation.predictions import DESIGN_EFFECTS
from benchmark.records.outcomes import Outcome
from benchmark.records.record import DataFacts, Record
from benchmark.reporting.board.column import Average, Column, Kind, Output, Section, Values


def _millions(name: str, record: Record) -> float | None:
    """Return a number of the network's parameters in millions; a failed run may not have it."""
    return None if record.network is None else float(getattr(record.network, name) / 1e6)


def _seconds(name: str, record: Record) -> float | None:
    """Return a part of a run's wall time, ``None`` for a run that did not end well."""
    return float(getattr(record.timings, name)) if record.outcome is Outcome.OK else None


def _size(record: Record) -> int | None:
    """Return the side of the network's input in pixels, ``None`` where it is the network's own."""
    recipe = record.identity.get("recipe")
    return recipe.get("size") or None if isinstance(recipe, dict) else None


def speed_block(record: Record) -> str | None:
    """Return under what conditions speeds were measured: only within one can they be compared."""
    if not record.throughput.batch_size and all(column.value_in(record) is None for column in _SPEEDS):
        return None
    precision = record.identity.get("precision") or "unknown precision"
    workers = record.settings.workers if record.settings else 1
    # on a processor each of several workers has its share of the cores; on GPUs each has one of its own
    share = f", 1 of {workers} workers" if workers not in (1, "auto") and not _on_gpu(record) else ""
    return f"{record.device}, {precision}, batch {record.throughput.batch_size}{share}"


def _on_gpu(record: Record) -> bool:
    return record.identity.get("device_kind") == "cuda"


def _speed(name: str, title: str, help_text: str, better: Literal["higher", "lower"], *outputs: Output) -> Column:
    """Return the column of something measured while a network trained or predicted."""
    once = name not in ("train_images_per_s", "peak_memory_mb")  # runs of one worker may share what is of prediction
    average = Average.ONE_DEVICE_ONCE if once else Average.ONE_DEVICE
    shown: tuple[Output, ...] = ("page", *outputs)
    return Column(
        name, title, help_text, Kind.NUMBER, average, "speed", shown, better, of_record=f"throughput.{name}"
    )


def _time(name: str, help_text: str) -> Column:
    """Return the column of a part of the runs' wall time, in seconds."""
    title = f"{name.removesuffix('_s')} s"
    return Column(
        name, title, help_text, Kind.NUMBER, Average.RUNS, better="lower", of_record=partial(_seconds, name)
    )


_SPEEDS = (
    _speed("train_images_per_s", "training img/s", "Images per second of training steps.", "higher"),
    _speed(
        "infer_images_per_s",
        "inference img/s",
        "Images per second of prediction, the forward pass alone.",
        "higher",
        "front",
        "latex",
    ),
    _speed(
        "pipeline_images_per_s",
        "pipeline img/s",
        "Images per second of prediction, preprocessing included.",
        "higher",
    ),
    _speed("latency_p50_ms", "latency p50 ms", "Median time of a single image in milliseconds.", "lower"),
    _speed("latency_p95_ms", "latency p95 ms", "Time in milliseconds that 95 % of single images take.", "lower"),
    _speed("peak_memory_mb", "peak memory MB", "Peak memory of the device in megabytes.", "lower", "front"),
)
_shown = partial(Column, outputs=("page",))
_whole = partial(Column, kind=Kind.WHOLE)
_pooled = partial(Column, kind=Kind.SCORE, average=Average.POOLED, better="higher")
_score = partial(_pooled, section="scores", outputs=("page", "checklist"))
_calibration = partial(_pooled, section="calibration", outputs=("page", "checklist"))
_selective = partial(_pooled, section="selective", average=Average.FOLDS_BY_IMAGES, outputs=("page",))
_errors = partial(Column, kind=Kind.COUNT, average=Average.POOLED, better="lower", digits=1)
_image_errors = partial(_errors, section="errors", outputs=("page", "front", "checklist", "latex"))
_patient_errors = partial(_errors, section="patient errors", patients=True)
_support = partial(Column, kind=Kind.WHOLE, average=Average.ALL_FOLDS, per="class")
_cam = partial(Column, kind=Kind.SCORE, average=Average.RUNS)


def _said(score: str) -> str:
    return score.replace("_", " ")


def _score_of(score: str) -> str:
    """Return a score of heat maps as the beginning of a sentence."""
    return {"cam_pointing": "Pointing game", "cam_energy": "Energy inside the lesion", "cam_iou": "IoU"}[score]


# fmt: off
COLUMNS: tuple[Column, ...] = (
    # --- which row it is
    _whole("rank", "rank",
        "The best rank that the row may have: 1 + the rows of the block that are significantly better.",
        outputs=("page", "front", "latex")),
    _shown("block", "block", "The group of rows among which the rank is given."),
    Column("backbone", "backbone", "The network.", outputs=("page", "front", "latex"), of_record="backbone.name"),
    Column("framework", "framework", "What executed the network.", outputs=("page", "front", "latex"),
        of_record="backbone.framework"),
    _shown("library", "library", "Where the network comes from.", of_record="backbone.library"),
    _shown("weights", "weights", "The weights that training began with.", of_record="weights.used"),
    _shown("recipe", "recipe", "How the network was trained: the name of its recipe.", of_record="recipe_name"),
    Column("data", "data", "The data set.", of_record="data.name"),
    Column("split", "split", "How the test images were chosen.", of_record="data.split"),
    _whole("seed", "seed", "The seed of each run.", outputs=("page",), of_record="seed"),
    _whole("n_runs", "runs", "The number of runs with scores.", outputs=("page",)),
    _shown("status", "status", "How the runs ended."),
    _shown("reason", "reason", "Why there is no score, or what else must be known of the row."),
    # --- scores of the test images
    _score("macro_f1", "macro-F1", "Unweighted mean of the classes' F1.",
        outputs=("page", "front", "checklist", "latex"), of_confusion=metrics.macro_f1),
    _score("accuracy", "accuracy", "Share of images whose predicted class is right.", of_confusion=metrics.accuracy),
    _score("balanced_accuracy", "balanced accuracy", "Mean recall of the classes.",
        of_confusion=metrics.balanced_accuracy),
    _score("mcc", "MCC", "Matthews correlation for several classes, -1 to 1.", lowest=-1.0, of_confusion=metrics.mcc),
    _score("auroc", "AUROC", "Area under the ROC curve of each class against the rest, mean over classes.",
        average=Average.FOLDS, of_test=lambda scores, test: scores.test.auroc),
    _score("val_macro_f1", "validation macro-F1", "Macro-F1 of the validation images, on which choices were made.",
        average=Average.FOLDS, outputs=("page",), of_test=lambda scores, test: scores.val_macro_f1),
    _image_errors("fn_{}", "fn {}", "Images of the class that are not predicted as it.", per="class",
        of_class="false_negatives"),
    _image_errors("missed_{}", "missed {}", "Images of the tumour that are predicted as the class without a tumour.",
        per="tumour", of_class="missed"),
    # --- speed and size
    *_SPEEDS,
    Column("params_m", "parameters M", "Parameters in millions.", Kind.NUMBER, section="speed",
        outputs=("page", "latex"), of_record=partial(_millions, "parameters")),
    Column("gmacs", "GMACs", "Multiply-accumulate operations of one image in units of 1e9.", Kind.NUMBER,
        section="speed", outputs=("page",), of_record="network.gmacs"),
    _shown("device", "device", "What the runs were done on.", of_record="device"),
    Column("speed_block", "speed block", "The conditions under which speeds can be compared.", of_record=speed_block),
    # --- further columns; new ones stand here, as the order of all columns above is a contract
    _whole("rank_last", "last rank",
        "The worst rank that the row may have: all ranked rows of the block less those significantly worse."),
    Column("p_guessing", "p of guessing",
        "Probability of as high an AUROC by guessing alone, by a permutation of labels.", Kind.SCORE,
        outputs=("page",), digits=4),
    _score("cohen_kappa", "Cohen's kappa", "Agreement of predictions and labels beyond chance, -1 to 1.",
        lowest=-1.0, of_confusion=metrics.cohen_kappa),
    _pooled("f1_{}", "F1 {}",
        "F1 of the class: 2 TP / (2 TP + FP + FN).", per="class", outputs=("page",), of_class="f1"),
    _pooled("precision_{}", "precision {}",
        "Share of the images predicted as the class that are of it: TP / (TP + FP).", per="class",
        of_class="precision"),
    _pooled("recall_{}", "recall {}",
        "Share of the images of the class that are predicted as it: TP / (TP + FN).", per="class", of_class="recall"),
    _support("support_{}", "support {}", "Test images of the class.", of_class="support"),
    _calibration("ece", "calibration error (ECE)",
        "Mean difference between the probability of an answer and how often such answers are right.", better="lower",
        of_test=lambda scores, test: reliability(test.labels, test.probabilities).error),
    _calibration("brier", "Brier",
        "Mean squared difference between the probabilities and the truth, 0 to 2.", better="lower",
        of_test=lambda scores, test: brier(test.labels, test.probabilities)),
    # the values of the next ones come from derived_scores: they need validation images, or costs
    _calibration("ece_temperature", "ECE at the temperature",
        "Calibration error after logits are divided by the temperature that fits validation images best.",
        better="lower", average=Average.FOLDS_BY_IMAGES),
    _calibration("temperature", "temperature",
        "The temperature that fits validation images best (Guo et al. 2017): over 1 where the network is too "
        "sure of itself.", better="",
        average=Average.FOLDS, outputs=("page",), digits=2),
    _calibration("sensitivity_at_95", "sensitivity",
        "Share of the tumours that are found, at the threshold that has a specificity of 95 % on validation images.",
        average=Average.FOLDS_BY_ILL),
    _calibration("specificity_at_95", "specificity reached",
        "Share of the test images without a tumour that are called healthy, at the threshold that has a "
        "specificity of 95 % on validation images.",
        average=Average.FOLDS_BY_HEALTHY),
    _calibration("sensitivity_matched", "sensitivity, matched",
        "Share of the tumours that are found, at a threshold that has a specificity of 95 % on the test images: for "
        "comparing rows, not for use.",
        average=Average.FOLDS_BY_ILL),
    *(
        _pooled(f"macro_f1_deff{effect}", f"macro-F1, design effect {effect}",
            f"Macro-F1, with its interval if the test images were worth only 1/{effect} of their number.",
            section="dependence")
        for effect in DESIGN_EFFECTS
    ),
    _calibration("macro_f1_prior", "macro-F1, prior-corrected",
        "Macro-F1 with probabilities corrected for the test images' own shares of classes, which are estimated "
        "without labels.",
        average=Average.FOLDS_BY_IMAGES),
    _calibration("ece_prior", "ECE, prior-corrected",
        "Calibration error with probabilities corrected for the test images' own shares of classes.", better="lower",
        average=Average.FOLDS_BY_IMAGES),
    _selective("aurc", "AURC", "Mean share of wrong answers over all shares of images that are answered.",
        better="lower"),
    _selective("coverage_at_5", "coverage at 5 % risk",
        "The largest share of images, the surest first, of whose answers at most 5 % are wrong."),
    _selective("conformal_coverage", "coverage of sets", "Share of images whose conformal set holds their class."),
    _selective("conformal_least_coverage", "least coverage of a class",
        "Share of images whose conformal set holds their class, in the class where it is least."),
    _selective("conformal_size", "classes in a set", "Mean number of classes in a conformal set.", better="lower"),
    *(
        _pooled(column_name(threshold, variant), f"net benefit at {100 * threshold:.0f} %{how}",
            f"Net benefit at a prevalence of {100 * PREVALENCE:.0f} % of acting from a probability of "
            f"{100 * threshold:.0f} %{how}.", average=Average.FOLDS_BY_IMAGES, section="net benefit",
            outputs=("page",), lowest=bounds(threshold)[0])
        for threshold in THRESHOLDS
        for variant, how in (("", ""), ("_temperature", ", temperature"), ("_both", ", temperature and prior"))
    ),
    _calibration("cost", "expected cost", "Mean cost of a decision by --costs.", average=Average.FOLDS_BY_IMAGES,
        outputs=("page",), better="lower"),
    _calibration("patient_macro_f1", "macro-F1 by patient", "Macro-F1 of patients, whose slices are pooled.",
        outputs=("page", "checklist"), patients=True, of_confusion=metrics.macro_f1),
    _pooled("patient_accuracy", "accuracy by patient",
        "Share of patients whose predicted class is right.", patients=True,
        of_confusion=metrics.accuracy),
    _whole("patients", "patients", "Patients in the test images.", average=Average.ALL_FOLDS),
    _patient_errors("patient_fn_{}", "fn {}", "Patients of the class who are not predicted as it.", per="class",
        of_class="false_negatives"),
    _support("patient_support_{}", "patients {}", "Patients of the class.", patients=True, of_class="support"),
    _patient_errors("patient_missed_{}", "missed {}", "Patients with the tumour who are predicted to have none.",
        per="tumour", of_class="missed"),
    # --- Grad-CAM maps against lesions; the values come from cam_scores
    _cam(cam_metrics.POINTING, "pointing game", "Share of maps whose highest point lies in the lesion.",
        better="higher"),
    _cam(cam_metrics.ENERGY, "energy inside the lesion", "Share of a map inside the lesion.", better="higher"),
    _cam(cam_metrics.IOU, "IoU at the lesion's area",
        "Overlap of the lesion with the map's highest points, as many as it has pixels.", better="higher"),
    _cam("cam_images", "images", "Images whose maps have scores.", kind=Kind.WHOLE),
    *(
        _cam(f"{score}_{name}", f"{_said(score)}, {baseline}",
            f"{_score_of(score)} of a map of the same size that knows nothing of the image: {baseline}.")
        for score in cam_metrics.SCORES
        for baseline, name in cam_metrics.BASELINES.items()
    ),
    _cam("cam_outside_head", "outside the head", "Share of a map on the background around the head.", better="lower"),
    _cam("cam_outside_head_uniform", "outside the head, uniform map",
        "Share of an even map on the background around the head: the background's share of the images."),
    _cam("cam_randomized", "left when randomised",
        "Rank correlation of the maps with those after all weights were replaced by random ones.", better="lower"),
    *(
        _cam(f"{score}_oracle", f"{_said(score)}, ceiling",
            f"{_score_of(score)} of the lesion itself, averaged to the map's size: the most that can be reached.")
        for score in cam_metrics.SCORES
    ),
    *(
        _cam(f"{score}_less_{name}", f"{_said(score)} less {baseline}",
            f"{_score_of(score)} of the maps less that of a map that knows nothing ({baseline}), mean over images.",
            lowest=-1.0, better="higher")
        for score in cam_metrics.SCORES
        for baseline, name in cam_metrics.BASELINES.items()
    ),
    *(
        _cam(f"{score}_{side}", f"{_said(score)}, {side}",
            f"{_score_of(score)} of the images whose prediction is {side}.",
            better="higher")
        for score in cam_metrics.SCORES
        for side in ("right", "wrong")
    ),
    *(
        _cam(f"cam_images_{side}", f"images, {side}", f"Images whose prediction is {side}.", kind=Kind.WHOLE)
        for side in ("right", "wrong")
    ),
    Column("onnx_latency_p50_ms", "ONNX latency p50 ms",
        "Median time in milliseconds of a single image of the kept model's ONNX file on onnxruntime, on a processor.",
        Kind.NUMBER, Average.RUNS, "speed", ("page",), "lower"),
    # --- facts of the runs
    Column("precision", "precision", "The number format of the computation.", of_record="identity.precision"),
    _whole("batch_size", "batch size", "Images at once while speeds were measured.",
        of_record=lambda record: record.throughput.batch_size or None),
    _whole("size", "size", "Side of the network's input in pixels.", of_record=_size),
    _whole("limit", "limit", "How many images of the data set were used (--limit).", of_record="data.limit"),
    _whole("n_train", "training images", "Images to train.", of_record="data.n_train"),
    _whole("n_validation", "validation images",
        "Images that train nothing: whatever is chosen is chosen by them.", of_record="data.n_validation"),
    _whole("n_test", "test images", "Images to test.", of_record="data.n_test"),
    Column("weights_policy", "weights policy", "The weights that were asked for.", of_record="weights.policy"),
    Column("fell_back", "fell back", "Whether weights that were asked for could not be had.", Kind.TRUTH,
        of_record="weights.fell_back"),
    Column("leaks", "leaks", "What is on both sides of the split.",
        of_record=lambda record: "; ".join(record.data.leaks)),
    Column("synthetic", "synthetic", "Whether images are simulated.", Kind.TRUTH, of_record="data.synthetic"),
    Column("grouped", "grouped", "Whether patients are known.", Kind.TRUTH, of_record="data.grouped"),
    _whole("best_epoch", "best epoch", "The epoch whose weights were kept.", of_record="best_epoch"),
    _whole("n_epochs", "epochs", "The epochs that were trained.",
        of_record=lambda record: len(record.history) or None),
    Column("trainable_params_m", "trained parameters M", "Parameters in millions that are trained.", Kind.NUMBER,
        of_record=partial(_millions, "trainable_parameters")),
    Column("note", "note", "What must be known of the network.", of_record="backbone.note"),
    _shown("parity", "parity",
        "Whether it is the same network as one of another framework, and how that was checked."),
    _time("compile_s", "Seconds of compilation."),
    _time("compute_s", "Seconds of computation in the epochs."),
    _time("data_s", "Seconds in which the epochs waited for images."),
    _time("harness_s", "Seconds of the epochs that are neither computation nor waiting for images."),
    _time("total_s", "Seconds of a whole run."),
    Column("key", "key", "The key of the record.", of_record="key"),
)
# fmt: on


def columns(class_names: Sequence[str], tumour_names: Sequence[str]) -> list[Column]:
    """Return every column, each family with a column for each of its classes, in the order of :data:`COLUMNS`."""
    return list(_columns(tuple(class_names), tuple(tumour_names)))


@lru_cache(maxsize=64)  # each row of a board asks for those of its data set
def _columns(class_names: tuple[str, ...], tumour_names: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple(member for column in COLUMNS for member in column.members(class_names, tumour_names))


def all_columns(class_names: Sequence[str], tumour_names: Sequence[str]) -> dict[str, Column]:
    """Return by name every column of ``leaderboard.csv``: those of :func:`columns`, then spreads and intervals."""
    own = columns(class_names, tumour_names)
    # those of scores stand before those of speeds and times
    averaged = sorted((column for column in own if column.averaged), key=lambda column: column.kind is Kind.NUMBER)
    further = [column.further(end) for column in averaged for end in ("sd", "low", "high")]
    further += [column.further("fold_sd") for column in own if column.section == "scores"]
    return {column.name: column for column in (*own, *further)}


def columns_of(data: DataFacts | None) -> list[Column]:
    """Return every column with those for the classes of a data set, or without families for ``None``."""
    names = () if data is None else data.class_names
    negative = None if data is None else data.negative_class
    return columns(names, [name for name in names if negative not in (None, name)])


def in_section(section: Section, data: DataFacts | None = None) -> list[Column]:
    """Return the columns of one table of ``leaderboard.md``, with those for the classes of a data set."""
    return [column for column in columns_of(data) if column.section == section]


def in_output(output: Output, data: DataFacts | None = None) -> list[Column]:
    """Return the columns that an output shows, with those for the classes of a data set."""
    return [column for column in columns_of(data) if output in column.outputs]


def named(*names: str) -> list[Column]:
    """Return the columns of these names, families left out."""
    by_name = {column.name: column for column in COLUMNS}
    return [by_name[name] for name in names]


def values_of(scores: metrics.Scores, *, patients: bool = False) -> Values:
    """Return by column name what follows from the confusion matrix of images, or of patients."""
    values: Values = {}
    for column in COLUMNS:
        if column.patients is patients and column.of_confusion is not None:
            values[column.name] = float(column.of_confusion(scores.confusion))
        elif column.patients is patients and column.of_class:
            # of a class without images nothing can be lost: that is no zero
            of_class = [each for each in scores.classes if each.support or column.of_class == "support"]
            values |= {column.name.format(each.name): getattr(each, column.of_class) for each in of_class}
    return values


def measures() -> Mapping[str, tuple[Measure, float]]:
    """Return by column name the functions of the confusion matrix of images, each with its lowest value."""
    chosen = [column for column in COLUMNS if not column.patients]
    return {column.name: (column.of_confusion, column.lowest) for column in chosen if column.of_confusion is not None}
