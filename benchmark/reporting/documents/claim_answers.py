"""What records tell of data and results for a reporting checklist, one answer at a time; nothing is guessed."""

from collections.abc import Iterable, Sequence

from benchmark.data.audit.audit import Audit
from benchmark.data.audit.table import near_sentences
from benchmark.grouping import grouped
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.phrases import data_notes
from benchmark.reporting.board.row_notes import row_notes
from benchmark.reporting.breakdown.corruption_tables import spoilt_images
from benchmark.reporting.breakdown.corruptions import Robustness
from benchmark.reporting.breakdown.strata import Strata
from benchmark.reporting.documents.claim_training import by_row, each_run, records_of
from benchmark.reporting.figures.labels import full_names

NOT_RECORDED = "not recorded"


def audits(rows: Sequence[BoardRow]) -> dict[str, Audit]:
    """Return the audits by the name of the split."""
    by_split = {record.data.split: record.audit for record in records_of(rows) if record.audit is not None}
    return dict(sorted(by_split.items()))


def source(rows: Sequence[BoardRow]) -> str:
    """Return the data set, its fingerprint, and what is known of its release."""
    data = rows[0].first.record.data
    kind = "simulated images" if data.synthetic else "images"
    notes = dict.fromkeys(note for audit in audits(rows).values() for note in audit.notes)
    release = f" {'; '.join(notes)}." if notes else ""
    return f"{data.name} ({kind}), fingerprint {data.fingerprint[:16]}.{release}"


def design(rows: Sequence[BoardRow]) -> str:
    """Return when images came to be."""
    if rows[0].first.record.data.synthetic:
        return "Neither: images are simulated."
    return "Retrospective: images that were collected before."


def subsets(rows: Sequence[BoardRow]) -> str:
    """Return which images were taken of those that there are."""
    data = rows[0].first.record.data
    if data.limit is None:
        return "None: all images."
    return f"{data.limit} images, proportionally by class and part, chosen by hashes of their ids."


def missing(rows: Sequence[BoardRow]) -> str:
    """Return what became of images that could not be read; nothing where no audit counted them."""
    counts = [audit.unreadable for audit in audits(rows).values()]
    if not counts:
        return ""
    return f"{max(counts)} images that could not be read were left out; nothing was imputed."


def reference_standard(rows: Sequence[BoardRow]) -> str:
    """Return whose labels they are."""
    return f"The source's labels: {', '.join(rows[0].first.record.data.class_names)}; not checked by this program."


def annotation(rows: Sequence[BoardRow]) -> str:
    """Return whose labels those of test images are."""
    if _external(rows):
        return "The labels of the source that tests, as its files have them; not checked by this program."
    return "As that of training images: the source's labels."


def intended_size(rows: Sequence[BoardRow]) -> str:
    """Return how large the test set is, and that no size was intended."""
    values, interval = rows[0].values, rows[0].intervals.get("macro_f1")
    wide = 0.0 if interval is None else interval.high - interval.low
    width = "" if interval is None else f"; the interval of the first row's macro-F1 is {wide:.3f} wide"
    return f"None was set: all {values['n_test']} test images of the split{width}."


def flow(rows: Sequence[BoardRow]) -> str:
    """Return the flow of cases: images found, those that were left out and why, and those of each part."""
    values, data = rows[0].values, rows[0].first.record.data
    unreadable = max((audit.unreadable for audit in audits(rows).values()), default=None)
    folds = len({result.record.data.split_hash for result in rows[0].results})
    used = data.n_train + data.n_validation + data.n_test
    removed = data.removed or 0
    total = used + removed + (unreadable or 0)
    left = [f"{unreadable} could not be read"] if unreadable else []
    left += [f"{removed} training images show a slice of the test part (--dedupe)"] if removed else []
    out = f"{total - used} left out ({'; '.join(left)})" if left else "none left out"
    within = "" if data.limit is None else f", within the {data.limit} that --limit took"
    counted = "" if unreadable is not None else " Images that could not be read were not counted."
    each = f"{values['n_train']} to train, {values['n_validation']} for validation, {values['n_test']} to test"
    means = f" (means of {folds} folds; each image is tested once)" if folds > 1 else ""
    return f"{total} images{within}; {out}; {each}{means}. {patients_of(rows)}{counted}"


def patients_of(rows: Sequence[BoardRow]) -> str:
    """Return how many patients the test images are of."""
    values, data = rows[0].values, rows[0].first.record.data
    supports = ", ".join(f"{name} {values[f'support_{name}']}" for name in data.class_names)
    patients = f"{values['patients']} patients in test" if "patients" in values else "Patients are not known"
    return f"{patients}; test images by class: {supports}."


def ensembling(rows: Sequence[BoardRow]) -> str:
    """Return which rows average several networks."""
    made = [
        name
        for name, row in zip(full_names(rows), rows, strict=True)
        if row.first.record.backbone.origin == "ensemble"
    ]
    return (
        f"Averaged probabilities of several networks: {', '.join(made)}."
        if made
        else "None: every row is of single networks."
    )


def robustness(rows: Sequence[BoardRow], spoilt: Robustness | None) -> str:
    """Return what was varied: images, recipes, seeds, folds; seeds alone are no analysis of robustness."""
    recipes = grouped(((row.values["backbone"], row.values["weights"]), row.first.record.recipe_name) for row in rows)
    varied = sum(len(set(names)) > 1 for names in recipes.values())
    sentences = [
        spoilt_images(spoilt),
        f"{varied} networks were trained by several recipes." if varied else "No change of the recipe was tried.",
    ]
    seeds = [len({result.record.seed for result in row.results}) for row in rows]
    repeated = sum(count > 1 for count in seeds)
    of_rows = "" if repeated == len(rows) else f", in {repeated} of {len(rows)} rows"
    sentences.append(
        f"Training was repeated with up to {max(seeds)} seeds{of_rows}."
        if repeated
        else "One seed: nothing is known of how training varies."
    )
    folds = {result.record.data.fold for row in rows for result in row.results} - {None}
    if folds:
        sentences.append(f"{len(folds)} fold{'s' if len(folds) > 1 else ''}.")
    if not rows[0].first.record.data.grouped:
        sentences.append("Intervals at design effects 2 and 4 stand in leaderboard.md, as patients are unknown.")
    return " ".join(sentences)


def internal_data(rows: Sequence[BoardRow]) -> str:
    """Return on which part networks were judged, where it is of the training images' own source."""
    return "" if _external(rows) else f"The test part of the same source: {assignment(rows)}"


def external_data(rows: Sequence[BoardRow]) -> str:
    """Return on which other source networks were tested (``--test-data``), or that there was none."""
    return _external(rows) or "None: test images are of the source that training images are of."


def _external(rows: Sequence[BoardRow]) -> str:
    notes = dict.fromkeys(note for audit in audits(rows).values() for note in audit.notes)
    external = [note for note in notes if note.startswith("tested on all images of ")]
    return f"{external[0][0].upper()}{external[0][1:]}." if external else ""


def diagnostic(rows: Sequence[BoardRow]) -> str:
    """Return where sensitivity and specificity are told."""
    if rows[0].first.record.data.negative_class is None:
        return "Recall and precision of each class in leaderboard.csv; no class is without a tumour."
    return (
        "Sensitivity and specificity of tumour or not in the table below, at the threshold of 95 % specificity on "
        "validation images, whose own uncertainty is in the interval; recall and precision of each class in "
        "leaderboard.csv; net benefit in leaderboard.md."
    )


def unfinished(rows: Sequence[BoardRow]) -> str:
    """Return how many rows have no score."""
    failed = [row for row in rows if not row.values["n_runs"]]
    return f"{len(failed)} of {len(rows)} rows have no score: see leaderboard.md." if failed else "None."


def clusters(rows: Sequence[BoardRow], strata: Strata | None) -> str:
    """Return how dependence between images was dealt with, and what is known of hospitals."""
    data = rows[0].first.record.data
    unit = "patients" if data.grouped else "clusters of near-duplicates, as patients are unknown"
    compared = [title for title in _facets(strata) if title in ("scanner", "source")]
    sites = f"Compared by {' and '.join(compared)} in strata.csv." if compared else _NO_SITES
    return f"Intervals and tests draw whole {unit}. {sites}"


_NO_SITES = "Hospitals and scanners are not compared."


def _facets(strata: Strata | None) -> list[str]:
    return [] if strata is None else [facet.title for facet in strata.facets]


def imbalance(rows: Sequence[BoardRow]) -> str:
    """Return how unequal classes are, what training did about it, and what became of the probabilities."""
    class_weights = each_run(lambda run: "" if run.recipe is None else str(run.recipe.loss.class_weights))
    weights = by_row(rows, class_weights)
    shifts = [f"{name} {audit.shift():.2f}" for name, audit in audits(rows).items()]
    apart = (
        f" Class shares of training and test are apart by {', '.join(shifts)} (total variation)." if shifts else ""
    )
    return (
        f"Class weights: {weights or NOT_RECORDED}. Macro-F1 and balanced accuracy weigh classes equally.{apart} "
        "Probabilities corrected for other shares stand beside (macro-F1 and ECE, prior-corrected)."
    )


def subgroups(rows: Sequence[BoardRow], strata: Strata | None) -> str:
    """Return of which groups scores are told."""
    facets = _facets(strata)
    also = f", and by {', '.join(facets)} (strata.csv)" if facets else " only"
    names = ", ".join(rows[0].first.record.data.class_names)
    return f"By class{also} ({names}). Age, sex and ethnicity are not known."


def balance(rows: Sequence[BoardRow]) -> str:
    """Return the images by class and part, as the audit counted them."""
    splits = [
        f"{split}: "
        + "; ".join(f"{part} " + ", ".join(f"{c} {n}" for c, n in counts.items()) for part, counts in parts.items())
        for split, parts in ((split, audit.balance) for split, audit in audits(rows).items())
    ]
    return ". ".join(splits)


def assignment(rows: Sequence[BoardRow]) -> str:
    """Return how images came into parts."""
    data = rows[0].first.record.data
    kinds = {
        "official": "the source's own test part",
        "holdout": "a hold-out, stratified by class, decided by hashes of image ids",
        "regroup": "the source's parts put together and cut anew, stratified by class, near-duplicates kept together",
        "folds": f"{data.folds} folds, stratified by class",
        "official-folds": f"the source's own {data.folds} folds",
        "slice": f"{data.folds} folds of single images",
        "external": "all images of another data set",
    }
    limit = "" if data.limit is None else f" Limited to {data.limit} images."
    removed = "" if data.removed is None else f" {data.removed} training images with a copy in test were left out."
    how = kinds.get(data.split_kind, f"split '{data.split}'")
    return f"{how[0].upper()}{how[1:]}; validation is cut from training images.{limit}{removed}"


def level(rows: Sequence[BoardRow]) -> str:
    """Return at which level the parts are disjoint."""
    data = rows[0].first.record.data
    if data.split_kind == "slice":
        return "Image: patients are on both sides."
    if not data.grouped:
        unit = "Image" if data.split_kind == "official" else "Slice with its near-duplicates"
        return f"{unit}: patients are not known, and may be on both sides."
    return "Patient." if not data.leaks else "Not disjoint: " + " ".join(map(_sentence, data.leaks))


def leakage(rows: Sequence[BoardRow]) -> str:
    """Return what the audits found, or that none was made; of folds of which the same is to be said, once."""
    splits_of = grouped((" ".join(_audited(audit)), split) for split, audit in audits(rows).items())
    leaks = dict.fromkeys(leak for record in records_of(rows) for leak in record.data.leaks)
    audited = " ".join(f"{', '.join(splits)}: {text}" for text, splits in splits_of.items())
    return audited or (f"{'; '.join(leaks)}. No further audit is recorded." if leaks else "")


def _audited(audit: Audit) -> Iterable[str]:
    """Yield what an audit found, in sentences."""
    near = audit.near
    yield (
        f"{audit.byte_identical.groups} groups of byte-identical, {audit.pixel_identical.groups} of pixel-identical "
        f"and {near.groups} of near-duplicate images; {near.test_images} test images have a near-duplicate in "
        "training or validation."
    )
    yield from near_sentences(audit)
    yield from (_sentence(finding.text) for finding in audit.findings)


def limitations(rows: Sequence[BoardRow], doubts: Sequence[str]) -> str:
    """Return what the records themselves make one say: the doubts, and what else must be known of data and rows."""
    no_limits = ("images to train", "No patient is on both sides", "Patients are known.")
    on_data = [note for note in data_notes(rows) if not any(text in note for text in no_limits)]
    further = [*on_data, *(note.text for note in row_notes(rows))]
    joined = " ".join(doubts)
    return " ".join(dict.fromkeys(map(_sentence, [*doubts, *(text for text in further if text not in joined)])))


def _sentence(text: str) -> str:
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith(".") else f"{text}."
