"""``python -m benchmark check`` and ``python -m benchmark new``."""

from dataclasses import asdict
from pathlib import Path

import click

from benchmark.cli.json_output import json_option, print_json
from benchmark.cli.shared_options import keras_backend_option, plugin_option
from benchmark.conformance.checks import CHECKS
from benchmark.conformance.report import CheckResult, as_markdown
from benchmark.conformance.runner import examine
from benchmark.conformance.selection import find_backbones
from benchmark.errors import UserError, nearest, writing
from benchmark.text import plain, shown


@click.command(name="check")
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
@click.option("--all", "everything", is_flag=True, help="Check every registered backbone.")
@plugin_option
@click.option("--only", multiple=True, metavar="CHECK", help="Carry out only this check (repeatable).")
@keras_backend_option
@click.option("--report", "report_file", type=click.Path(path_type=Path), help="Also write the report to this file.")
@json_option
@click.pass_context
def check_command(
    context: click.Context,
    names: tuple[str, ...],
    everything: bool,
    plugins: tuple[Path, ...],
    only: tuple[str, ...],
    keras_backend: str,
    report_file: Path | None,
    as_json: bool,
) -> None:
    """Check that backbones are sound; print a report in Markdown. Exit code 1 where something has to be mended."""
    check_names = tuple(check.name for check in CHECKS)
    for name in only:
        if name not in check_names:
            raise UserError(f"Unknown check '{name}'.{nearest(name, check_names)} Known: {', '.join(check_names)}.")
    backbones, needed = find_backbones(names, plugins, everything=everything)

    def show(result: CheckResult) -> None:
        click.echo(plain(f"{result.backbone}: {result.check}: {result.status} ({result.seconds:.1f} s)"), err=True)

    results: list[CheckResult] = []
    for backbone in backbones:
        results += examine(backbone, needed, keras_backend=keras_backend, only=only, report=show)
    text, sound = as_markdown(results), all(result.good for result in results)
    if as_json:
        print_json({"sound": sound, "checks": [asdict(result) for result in results]})
    else:
        click.echo(shown(text))
    if report_file is not None:
        report_file.write_text(text + "\n", encoding="utf-8")
    if not sound:
        context.exit(1)


_HEAD = '''"""A backbone for TumorBoard. Try it:

    python -m benchmark check {file}
    python -m benchmark --backbone {name} --plugin {file}
"""

from backbones import backbone

'''
_TORCH = '''
@backbone("{name}", framework="torch", input_size=64)
def build(num_classes):
    """Return a network that takes RGB images of values 0-1, shape (N, 3, S, S), and gives logits."""
    from torch import nn

    def block(inputs, outputs):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(  # each child is a stage; the last is the head
        block(3, 32),
        block(32, 64),
        block(64, 128),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, num_classes)),
    )
'''
_KERAS = '''
@backbone("{name}", framework="keras", input_size=64)
def build(num_classes, input_size):
    """Return a network that takes RGB images of values 0-1, shape (N, S, S, 3), and gives logits."""
    import keras
    from keras import layers

    inputs = keras.Input((input_size, input_size, 3))
    x = inputs
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(num_classes)(x))
'''
_TEMPLATES = {"torch": _HEAD + _TORCH, "keras": _HEAD + _KERAS}


@click.command(name="new")
@click.argument("name")
def new_command(name: str) -> None:
    """Write a starting file for a backbone NAME (or keras/NAME), which passes the check as it is."""
    framework, slash, plain = name.partition("/")
    if not slash:
        framework, plain = "torch", name
    stem = plain.replace("-", "_")
    if framework not in _TEMPLATES or not (stem.isidentifier() and stem.isascii()):
        raise UserError(
            f"'{name}' can't name a backbone: use letters, digits, _ and -, not starting with a digit; for a Keras "
            "network put keras/ before it."
        )
    path = Path(f"{stem}.py")
    text = _TEMPLATES[framework].format(name=f"{framework}/{plain}", file=path.name)
    with writing(f"'{path}'"):
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except FileExistsError:
            raise UserError(f"'{path}' exists already: choose another name or remove it.") from None
    click.echo(f"Wrote {path}. Next: python -m benchmark check {path}")
