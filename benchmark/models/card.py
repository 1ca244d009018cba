"""The card of a kept model: ``README.md`` in Hugging Face's form, written from ``model.json`` alone."""

import json
from collections.abc import Mapping
from typing import Any

from benchmark.file_names import with_key
from benchmark.models.description import BoardFigures, Model, Score

_SHOWN = {
    "macro_f1": "Macro-F1",
    "accuracy": "Accuracy",
    "auroc": "AUROC",
    "ece": "Calibration error (ECE), before scaling",
    "sensitivity_at_95": "Sensitivity for tumours",
    "specificity_at_95": "Specificity for tumours",
    "patient_macro_f1": "Macro-F1 of patients",
}
NOT_CLINICAL = "Research software, not for clinical use: no decision about a patient may rest on it."


def card(model: Model) -> str:
    """Return the card, in Markdown with a YAML header. JSON is YAML, so that no text can break out of it."""
    parts = [_header(model), f"# {model.backbone.name}: {model.data.name}", f"**{NOT_CLINICAL}**", _what(model)]
    parts += ["## Scores", _scores(model), "## Use", _use(model), "## Intended use and limits", _limits(model)]
    parts += ["## How it was made", _made(model), _files(model)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(model: Model) -> str:
    reader = model.reader["reader"]
    values: dict[str, Any] = {
        "license": "other",
        "license_name": "see-weights-and-data",
        "library_name": {"timm": "timm", "keras": "keras"}.get(reader, "pytorch"),
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "mri", "brain-tumor", "tumorboard", model.backbone.library],
        "metrics": ["f1", "accuracy"],
        "model-index": [
            {
                "name": f"{model.backbone.name}-{model.key[:8]}",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": model.data.name, "type": model.data.name, "split": model.data.split},
                        "metrics": [
                            {"type": kind, "name": name, "value": round(model.scores[key], 4)}
                            for key, kind, name in (
                                ("macro_f1", "f1", "Macro-F1"),
                                ("accuracy", "accuracy", "Accuracy"),
                            )
                            if key in model.scores
                        ],
                    }
                ],
            }
        ],
    }
    hub = model.weights.requested.removeprefix("imagenet:")
    if model.weights.used == "imagenet" and hub.count("/") == 1 and " " not in hub:
        values["base_model"] = hub
    lines = [f"{name}: {json.dumps(value, ensure_ascii=True)}" for name, value in values.items()]
    return "---\n" + "\n".join(lines) + "\n---"


def _what(model: Model) -> str:
    data = model.data
    began = "random weights" if model.weights.used == "none" else f"{model.weights.loaded or model.weights.requested}"
    synthetic = " The images are simulated: nothing can be concluded about patients." if data.synthetic else ""
    return (
        f"A network ({model.backbone.name}, {model.parameters / 1e6:.1f} M parameters) that reads one slice of a "
        f"brain MRI as one of {len(data.class_names)} classes: {', '.join(data.class_names)}. It began from {began} "
        f"and was trained by TumorBoard {model.version} on {data.n_train} images of {data.name}.{synthetic}"
    )


def _scores(model: Model) -> str:
    where = f"{model.data.n_test} test images"
    lines = [f"This run, on {where}:"]
    if model.board:
        lines = [f"On {where} (split: {model.data.split}), with 95 % intervals over patients where these are known:"]
    lines += ["", "| score | value |", "|---|---|"]
    shown: Mapping[str, Score] = (
        model.board.scores if model.board else {name: Score(value=value) for name, value in model.scores.items()}
    )
    for name, score in shown.items():
        title = _SHOWN.get(name) or (name.replace("recall_", "Recall of ") if name.startswith("recall_") else "")
        if not title:  # all are in model.json
            continue
        interval = "" if score.low is None or score.high is None else f" ({score.low:.3f} to {score.high:.3f})"
        lines.append(f"| {title} | {score.value:.3f}{interval} |")
    if model.board:
        lines += ["", _rank(model.board)]
    return "\n".join(lines)


def _rank(board: BoardFigures) -> str:
    of_runs = f" Scores are means of {board.runs} runs, of which this model is one." if board.runs > 1 else ""
    if board.rank is None:
        return f"Not ranked ({board.unranked or 'incomplete'}), in the block '{board.block}'.{of_runs}"
    chosen = (
        f" It was chosen as the best of {board.rows} on these very images: expect a little less on others."
        if board.rows > 1
        else ""
    )
    return f"Rank {board.rank} among {board.rows} rows of the block '{board.block}'.{of_runs}{chosen}"


def _use(model: Model) -> str:
    folder = with_key(model.backbone.name, model.key)
    own = f"With TumorBoard:\n\n```sh\npython -m benchmark predict {folder} IMAGES\n```"
    return f"{own}\n\n{_outside(model)}"


def _outside(model: Model) -> str:
    """Return how the files are read without TumorBoard."""
    rule, size = model.input.resize, model.input.size
    p = model.input.preprocessing
    order = "RGB" if p["channel_order"] == "rgb" else "BGR"
    prepared = (
        f"Input: {size} x {size} pixels, {order}, resized by the rule '{rule}' (bicubic, antialiased), then "
        f"`(pixels * {p['scale']:.10g} - {list(p['mean'])}) / {list(p['std'])}`. Output: logits; divide by "
        f"{model.calibration.temperature:.4f} and apply softmax. Classes in order: {', '.join(model.class_names)}."
    )
    if model.recipe.testing.flips != "none":
        prepared += (
            f" Scores and `predict` average the probabilities of mirror images (`testing.flips = "
            f'"{model.recipe.testing.flips}"`); these lines give those of one view.'
        )
    saved = model.saved
    if saved.reader == "keras":
        imports = "import keras_cv  # registers its layers\n" if model.backbone.library == "keras_cv" else ""
        code = f"import keras\n{imports}\nmodel = keras.models.load_model('model.keras', compile=False)"
    elif saved.reader == "timm":
        arguments = dict(saved.arguments)
        name = arguments.pop("model_name")
        args = ", ".join([repr(name), *(f"{key}={value!r}" for key, value in arguments.items())])
        code = (
            f"import timm\nfrom safetensors.torch import load_file\n\nmodel = timm.create_model({args}).eval()\n"
            "model.load_state_dict(load_file('model.safetensors'), strict=True)"
        )
        code += _head_code(saved.head, "model.forward_features(x)")
    elif saved.head and not saved.head["method"]:
        return (
            f"{prepared}\n\nThe head was put on a place of the network that no method of its library gives: "
            "TumorBoard alone puts the two together. `export` makes a file that needs neither."
        )
    else:
        code = (
            "from safetensors.torch import load_file\n\n"
            f"model = build(num_classes={len(model.class_names)})  # what declares {model.backbone.name} builds it\n"
            "model.load_state_dict(load_file('model.safetensors'), strict=True)"
        )
        code += _head_code(saved.head, "model[:-1](x)")
    return f"Without it:\n\n```python\n{code}\n```\n\n{prepared}"


def _head_code(head: Mapping[str, Any], features: str) -> str:
    """Return the lines that put a new head behind features."""
    if not head:
        return ""
    if not head["method"]:
        return "\n# the head in head.safetensors stands where no method of the model leads: only TumorBoard uses it"
    places = {"average": "x.mean(places)", "max": "x.amax(places)", "flatten": "x.flatten(1)"}[head["pooling"]]
    lines = ["", "", "head = load_file('head.safetensors')", f"x = {features}  # x: the prepared images"]
    if head["channels_first"]:
        lines.append("x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x")
    lines.append(f"x = x[:, {head['prefix_tokens']}:] if x.ndim == 3 else x  # class tokens stand for no place")
    lines.append("places = tuple(range(1, x.ndim - 1))")
    lines.append(f"x = {places} if x.ndim > 2 else x")
    for number, name in enumerate(head["layers"]):
        if number:
            lines.append("x = x.relu()")
        lines.append(f"x = x @ head['{name}.weight'].T + head['{name}.bias']")
    return "\n".join([*lines, "logits = x"])


def _limits(model: Model) -> str:
    data, look = model.data, model.training_images
    lines = [f"- {NOT_CLINICAL}", "- Meant for: comparing networks, teaching, and research on such images."]
    lines.append(
        "- It answers one of its classes for whatever it is shown; `predict` abstains where an image is unlike those "
        "it was trained on."
    )
    lines.append(
        f"- Trained on images that are {'grey' if look.grey > 0.99 else f'grey in {look.grey:.0%} of cases'}"
        + (f", {look.sides[0]} to {look.sides[1]} pixels a side" if look.sides else "")
        + ". Other scanners, sequences, planes and populations were not seen."
    )
    if not data.grouped:
        lines.append(
            "- Patients are unknown: slices of one may stand in training and in test, and scores may be too high."
        )
    if model.calibration.distance:
        lines.append(
            "- This folder also holds features of some training images and hashes of all of them, by which `predict` "
            "knows what is unlike them. Ask who owns the images before you share it."
        )
    lines += [f"- {leak}" for leak in (*data.leaks, *(text for text in model.audit if text not in data.leaks))]
    return "\n".join(lines)


def _made(model: Model) -> str:
    chosen = model.calibration
    lines = [
        f"- Recipe: {model.recipe_name}, seed {model.seed}, on {model.device}; every value is in `model.json`.",
        f"- Images: {model.data.name}, fingerprint `{model.data.fingerprint[:16]}`"
        + (f", licence: {_short(model.data_licence)}" if model.data_licence else "")
        + (f". Cite: {_short(model.data_citation)}" if model.data_citation else ""),
        f"- Initial weights: {model.weights.requested}"
        + (f", licence: {model.weights_licence}" if model.weights_licence else "")
        + ".",
        f"- Temperature {chosen.temperature:.3f}, chosen on {chosen.n_validation} validation images"
        + (
            ""
            if chosen.ece_before is None or chosen.ece_after is None
            else f": the calibration error on test images goes from {chosen.ece_before:.3f} to {chosen.ece_after:.3f}"
        )
        + ".",
    ]
    if None not in (chosen.threshold, chosen.specificity, chosen.test_sensitivity, chosen.test_specificity):
        lines.append(
            f"- A tumour is reported from a probability of {chosen.threshold:.4f} on, chosen for a specificity of "
            f"{chosen.specificity:.0%} on validation images: on test images sensitivity "
            f"{chosen.test_sensitivity:.3f}, specificity {chosen.test_specificity:.3f}."
        )
    lines.append("- Libraries: " + ", ".join(f"{name} {version}" for name, version in model.libraries.items()) + ".")
    return "\n".join(lines)


def _files(model: Model) -> str:
    lines = ["| file | SHA-256 |", "|---|---|", *(f"| {name} | `{digest}` |" for name, digest in model.files.items())]
    if model.exports:
        lines += [
            "",
            "| export | runtime | images compared | largest difference of a probability | changed decisions |",
            "|---|---|---|---|---|",
        ]
        for each in model.exports:
            proof = f"{each.images} | {each.largest_difference:.2g} | {each.changed_decisions}"
            lines.append(f"| {each.file} | {each.runtime} | {proof} |")
    return "\n".join(lines)


def _short(text: str) -> str:
    """Return the beginning of a text; the whole is in ``model.json``."""
    return text if len(text) <= 200 else text[:200].rsplit(" ", 1)[0] + " ..."
