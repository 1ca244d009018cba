"""What records tell of networks and their training, for a reporting checklist: of every run of a row, not of one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmark.evaluation.cam_metrics import CAM_METHODS
from benchmark.grouping import grouped
from benchmark.records.record import Record
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.figures.labels import full_names

Runs = Sequence[Record]


def records_of(rows: Iterable[BoardRow]) -> list[Record]:
    """Return the records of scored runs."""
    return [result.record for row in rows for result in row.results if result.scores is not None]


def by_row(rows: Sequence[BoardRow], tell: Callable[[Runs], str]) -> str:
    """Return what is told of each row's scored runs, once where all say the same; rows of which nothing is told are
    left out.
    """
    texts = zip((tell(records_of([row])) for row in rows), full_names(rows), strict=True)
    names_of = grouped((text, name) for text, name in texts if text)
    if len(names_of) == 1 and sum(map(len, names_of.values())) == len(rows):
        return next(iter(names_of))
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in names_of.items())


def each_run(tell: Callable[[Record], str]) -> Callable[[Runs], str]:
    """Return what tells of runs what is told of one: once where all say the same, else how they differ."""
    return lambda runs: " / ".join(dict.fromkeys(filter(None, map(tell, runs))))


def span(numbers: Iterable[float]) -> str:
    """Return the least and the greatest of numbers, or the one that all are."""
    ordered = sorted(numbers)
    least, most = f"{ordered[0]:g}", f"{ordered[-1]:g}"
    return least if least == most else f"{least} to {most}"


def preprocessing(record: Record) -> str:
    """Return how pixels reach the network."""
    recipe = record.recipe
    if recipe is None:
        return ""
    pixels = f"{recipe.size} x {recipe.size} pixels" if recipe.size else "the backbone's own size"
    declared = {} if record.network is None else record.network.preprocessing
    settings = ", ".join(f"{name} {value}" for name, value in declared.items())
    return f"{pixels}, resized by {recipe.resize}" + (f"; {settings}" if settings else "")


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


def hardware(runs: Runs) -> str:
    """Return the device and the time of a run."""
    devices = " / ".join(dict.fromkeys(record.device for record in runs))
    minutes = fmean(record.timings.total_s for record in runs) / 60
    return f"{devices}, {minutes:.1f} minutes a run" + (f" (mean of {len(runs)})" if len(runs) > 1 else "")


def training(runs: Runs) -> str:
    """Return every choice of the recipe, section by section, how ``auto`` was resolved, and how long training was."""
    record = runs[0]  # runs of a row share their recipe
    recipe = record.recipe
    if recipe is None:
        return ""
    values = recipe.model_dump(mode="json", exclude={"families", "tuning"})
    values["optimizer"]["decoupled_decay"] = recipe.optimizer.decoupled
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    sections = {name: value for name, value in values.items() if isinstance(value, dict)}
    precision = record.identity.get("precision") or recipe.execution.precision
    epochs = span(len(record.history) for record in runs)
    choices = [f"{epochs} epochs of at most {recipe.epochs}, precision {precision}", _settings(plain)]
    choices += [f"{name.replace('_', ' ')}: {_settings(section)}" for name, section in sections.items()]
    resolved = each_run(lambda run: "" if run.network is None else _settings(run.network.execution))(runs)
    return "; ".join([*choices, f"carried out with: {resolved}"] if resolved else choices)


def _settings(values: Mapping[str, Any]) -> str:
    """Return settings as text: ``clip norm none, beta1 0.9``. Why one was chosen, in brackets, is left out."""
    return ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in values.items())


def _setting(value: Any) -> str:
    if value is None or value is False:
        return "none" if value is None else "no"
    if isinstance(value, dict):
        return "(" + _settings(value) + ")"
    return "yes" if value is True else str(value).partition(" (")[0]


def selection(runs: Runs) -> str:
    """Return by which rule the final model was chosen."""
    record, best = runs[0], [record.best_epoch for record in runs if record.best_epoch is not None]
    if not best or record.recipe is None:
        return ""
    stopping = record.recipe.early_stopping
    rule = {"val_loss": "the lowest loss", "val_macro_f1": "the highest macro-F1 (of equals, the lowest loss)"}
    epochs = span(len(record.history) for record in runs)
    kept = (
        f"the epoch with {rule[stopping.monitor]} on validation images ({span(best)} of {epochs})"
        if stopping.restore_best
        else "the last epoch"
    )
    patience = "" if stopping.patience is None else f"; stopped after {stopping.patience} epochs without a better one"
    average = "; exponential moving averages of the weights" if record.recipe.ema.decay else ""
    tried = max(len(record.trials) for record in runs)
    tuned = f"; learning rate of the lowest validation loss among {tried} tried" if tried else ""
    return f"weights of {kept}{patience}{average}{tuned}"


def explained(runs: Runs) -> str:
    """Return what was done to see where a network looks."""
    maps = [record.cam for record in runs if record.cam is not None]
    made = [cam for cam in maps if cam.images]
    if not made:
        return " / ".join(dict.fromkeys(cam.reason for cam in maps))
    how = dict.fromkeys(f"{CAM_METHODS.get(cam.method, (cam.method,))[0]} at stage {cam.stage}" for cam in made)
    of_runs = f" by {len(made)} runs" if len(made) > 1 else ""
    return f"{' / '.join(how)}, {sum(cam.images for cam in made)} maps of test images{of_runs}"
