"""Options that several commands have alike."""

import click

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What computes: a GPU where there is one (auto), the processor, or a GPU.",
)
keras_backend_option = click.option(
    "--keras-backend",
    type=click.Choice(["tensorflow", "torch"]),
    default="tensorflow",
    show_default=True,
    help="What Keras networks run on.",
)
