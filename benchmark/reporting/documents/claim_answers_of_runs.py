"""What a record tells for a reporting checklist of its network, its training and its device; nothing is guessed."""

from collections.abc import Mapping
from typing import Any

from benchmark.evaluation.cam_metrics import CAM_METHODS
from benchmark.records.record import Record


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


def hardware(record: Record) -> str:
    """Return the device and its time."""
    return f"{record.device}, {record.timings.total_s / 60:.1f} minutes a run"


def training(record: Record) -> str:
    """Return every choice of the recipe, section by section, and how long training was."""
    recipe = record.recipe
    if recipe is None:
        return ""
    values = recipe.model_dump(mode="json", exclude={"families", "tuning"})
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    sections = {name: value for name, value in values.items() if isinstance(value, dict)}
    precision = record.identity.get("precision") or recipe.execution.precision
    told = [f"{len(record.history)} epochs of at most {recipe.epochs}, precision {precision}", _settings(plain)]
    told += [f"{name.replace('_', ' ')}: {_settings(section)}" for name, section in sections.items()]
    return "; ".join(told)


def _settings(values: Mapping[str, Any]) -> str:
    """Return settings as text: ``clip norm none, beta1 0.9``."""
    return ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in values.items())


def _setting(value: Any) -> str:
    if value is None or value is False:
        return "none" if value is None else "no"
    if isinstance(value, dict):
        return "(" + _settings(value) + ")"
    return "yes" if value is True else str(value)


def selection(record: Record) -> str:
    """Return by which rule the final model was chosen."""
    if record.best_epoch is None or record.recipe is None:
        return ""
    stopping = record.recipe.early_stopping
    rule = {"val_loss": "the lowest loss", "val_macro_f1": "the highest macro-F1 (of equals, the lowest loss)"}
    kept = (
        f"the epoch with {rule[stopping.monitor]} on validation images ({record.best_epoch} of {len(record.history)})"
        if stopping.restore_best
        else "the last epoch"
    )
    patience = "" if stopping.patience is None else f"; stopped after {stopping.patience} epochs without a better one"
    average = "; exponential moving averages of the weights" if record.recipe.ema.decay else ""
    tuned = f"; learning rate of the lowest validation loss among {len(record.trials)} tried" if record.trials else ""
    return f"weights of {kept}{patience}{average}{tuned}"


def explained(record: Record) -> str:
    """Return what was done to see where a network looks."""
    cam = record.cam
    return (
        ""
        if cam is None
        else f"{CAM_METHODS.get(cam.method, (cam.method,))[0]} of {cam.images} images at stage {cam.stage}"
        if cam.images
        else cam.reason
    )
