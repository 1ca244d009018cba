"""What records tell for a reporting checklist, one answer at a time; nothing is guessed."""

from collections import Counter
from collections.abc import Callable, Sequence

from benchmark.data.audit.audit import Audit
from benchmark.evaluation.metrics import decide
from benchmark.records.record import DataFacts, Record
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.phrases import data_notes
from benchmark.reporting.board.row_notes import row_notes
from benchmark.reporting.figures.labels import full_names

NOT_RECORDED = "not recorded"


def records_of(rows: Sequence[BoardRow]) -> list[Record]:
    """Return the records of scored runs."""
    return [result.record for row in rows for result in row.results if result.scores is not None]


def by_row(rows: Sequence[BoardRow], tell: Callable[[Record], str]) -> str:
    """Return what each row says, once where all say the same; rows that say nothing are left out."""
    names_of: dict[str, list[str]] = {}
    for name, row in zip(full_names(rows), rows, strict=True):
        text = tell(row.first.record)
        if text:
            names_of.setdefault(text, []).append(name)
    if len(names_of) == 1 and sum(map(len, names_of.values())) == len(rows):
        return next(iter(names_of))
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in names_of.items())


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


def preprocessing(record: Record) -> str:
    """Return how pixels reach the network."""
    recipe = record.recipe
    if recipe is None:
        return ""
    pixels = f"{recipe.size} x {recipe.size} pixels" if recipe.size else "the backbone's own size"
    declared = {} if record.network is None else record.network.preprocessing
    settings = ", ".join(f"{name} {value}" for name, value in declared.items())
    return f"{pixels}, resized by {recipe.resize}" + (f"; {settings}" if settings else "")


def sizes(rows: Sequence[BoardRow]) -> str:
    """Return numbers of images, patients and classes."""
    values, data = rows[0].values, rows[0].first.record.data
    supports = ", ".join(f"{name} {values[f'support_{name}']}" for name in data.class_names)
    patients = f"; {values['patients']} patients in test" if "patients" in values else "; patients not known"
    return (
        f"{values['n_train']} images to train, {values['n_validation']} for validation, {values['n_test']} to test "
        f"({supports}){patients}."
    )


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
        "folds": f"{data.folds} folds, stratified by class",
        "official-folds": f"the source's own {data.folds} folds",
        "slice": f"{data.folds} folds of single images",
        "external": "all images of another data set",
    }
    limit = "" if data.limit is None else f" Limited to {data.limit} images."
    removed = "" if data.removed is None else f" {data.removed} training images with a copy in test were left out."
    how = kinds.get(data.split_kind, f"split '{data.split}'")
    return f"{how[0].upper()}{how[1:]}; validation is cut from training images.{limit}{removed}"


def level(data: DataFacts) -> str:
    """Return at which level the parts are disjoint."""
    if data.split_kind == "slice":
        return "Image: patients are on both sides."
    if not data.grouped:
        unit = "Image" if data.split_kind == "official" else "Slice with its near-duplicates"
        return f"{unit}: patients are not known, and may be on both sides."
    return "Patient." if not data.leaks else "Not disjoint: " + " ".join(map(_sentence, data.leaks))


def leakage(rows: Sequence[BoardRow]) -> str:
    """Return what the audits found, or that none was made."""
    by_split = audits(rows)
    sentences = [
        f"{split}: {audit.byte_identical.groups} groups of byte-identical, {audit.pixel_identical.groups} of "
        f"pixel-identical and {audit.near.groups} of nearly identical images; {audit.near.test_images} test images "
        f"have a copy in training or validation. " + " ".join(_sentence(finding.text) for finding in audit.findings)
        for split, audit in by_split.items()
    ]
    leaks = dict.fromkeys(leak for record in records_of(rows) for leak in record.data.leaks)
    return " ".join(sentences) or (f"{'; '.join(leaks)}. No further audit is recorded." if leaks else "")


def network(record: Record) -> str:
    """Return the network with its size."""
    facts = record.network
    note = f" ({record.backbone.note})" if record.backbone.note else ""
    if facts is None:
        return f"{record.backbone.framework}, {record.backbone.library}{note}"
    return (
        f"{record.backbone.framework}, {record.backbone.library}{note}, {facts.parameters / 1e6:.2f} M parameters "
        f"({facts.trainable_parameters / 1e6:.2f} M trained), {facts.gmacs:.2f} GMACs, {len(facts.stages)} stages"
    )


def weights(record: Record) -> str:
    """Return what a network started from."""
    facts = record.weights
    start = {"none": "random", "imagenet": "pretrained on ImageNet", "file": "from a file"}.get(
        facts.used, facts.used
    )
    recipe = record.recipe if facts.used == "none" else None
    initial = "" if recipe is None else f" ({recipe.initialization} initialisation)"
    loaded = f" ({facts.loaded})" if facts.loaded not in ("", "none") else ""
    return f"{start}{initial}{loaded}" + (", although pretrained weights were asked for" if facts.fell_back else "")


def software(record: Record) -> str:
    """Return versions."""
    provenance = record.provenance
    libraries = provenance.get("libraries")
    versions = [f"TumorBoard {provenance['tumorboard']}"] if "tumorboard" in provenance else []
    versions += [f"commit {provenance['git_commit'][:12]}"] if provenance.get("git_commit") else []
    versions += [f"Python {provenance['python']}"] if "python" in provenance else []
    versions += [f"{name} {version}" for name, version in libraries.items()] if isinstance(libraries, dict) else []
    return ", ".join(versions)


def hardware(record: Record) -> str:
    """Return the device and its time."""
    return f"{record.device}, {record.timings.total_s / 60:.1f} minutes a run"


def training(record: Record) -> str:
    """Return the recipe's choices, those that are off left out."""
    recipe = record.recipe
    if recipe is None:
        return ""
    varied = ", ".join(f"{name} {value}" for name, value in recipe.augmentation.model_dump().items() if value)
    return (
        f"{len(record.history)} epochs of at most {recipe.epochs}, "
        f"batch {recipe.batch_size}, {recipe.optimizer.name} at {recipe.optimizer.learning_rate}, schedule "
        f"{recipe.schedule.name}, weight decay {recipe.optimizer.weight_decay}, class weights "
        f"{recipe.loss.class_weights}, trained from {recipe.trainable_from}, precision "
        f"{record.identity.get('precision') or recipe.execution.precision}, augmentation: {varied or 'none'}"
    )


def selection(record: Record) -> str:
    """Return how the final model was chosen."""
    if record.best_epoch is None or record.recipe is None:
        return ""
    tuned = f"; learning rate chosen among {len(record.trials)} on validation images" if record.trials else ""
    kept = (
        "the epoch with the best validation result" if record.recipe.early_stopping.restore_best else "the last epoch"
    )
    return f"weights of {kept}{tuned}"


def explained(record: Record) -> str:
    """Return what was done to see where a network looks."""
    cam = record.cam
    return (
        "" if cam is None else f"Grad-CAM of {cam.images} images at stage {cam.stage}" if cam.images else cam.reason
    )


def failures(rows: Sequence[BoardRow]) -> str:
    """Return which errors are most frequent and which images every row gets wrong."""
    confused: Counter[tuple[str, str]] = Counter()
    wrong: list[set[str]] = []
    for row in rows:
        mine: set[str] = set()
        for result in row.results:
            if result.scores is None or result.predictions is None:
                continue
            test, names = result.predictions.part("test"), result.record.data.class_names
            predicted = decide(test.probabilities)
            mine |= {str(name) for name in test.image_ids[predicted != test.labels]}
            confused.update((names[i], names[j]) for i, j in zip(test.labels, predicted, strict=True) if i != j)
        wrong.append(mine)
    most = "; ".join(f"{true} called {called} ({count})" for (true, called), count in confused.most_common(3))
    shared = set.intersection(*wrong) if wrong else set()
    often = f"Most frequent over all runs: {most or 'no error'}."
    return f"{often} Wrong in every row: {len(shared)} images, see gallery.md."


def limitations(rows: Sequence[BoardRow], ranking: Sequence[str]) -> str:
    """Return what the records themselves make one say."""
    no_limits = ("images to train", "No patient is on both sides")
    on_data = [note for note in data_notes(rows) if not any(text in note for text in no_limits)]
    on_rows = [note.text for note in row_notes(rows)]
    return " ".join(dict.fromkeys(map(_sentence, [*on_data, *on_rows, *ranking])))


def _sentence(text: str) -> str:
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith(".") else f"{text}."
