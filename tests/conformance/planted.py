"""Backbones with one fault each, and the check that must catch it."""

from dataclasses import dataclass

_HEADER = "from backbones import IMAGENET, RAW, UNIT, Preprocessing, backbone\n\n\n"


@dataclass(frozen=True)
class Planted:
    """A plug-in with a fault.

    Args:
        fault: what is wrong, in words.
        check: name of the check that must fail.
        says: a part of what it must say.
        source: the plug-in, its backbone named ``own/faulty``.
    """

    fault: str
    check: str
    says: str
    source: str


def _plugin(layers: str, *, declared: str = "", before: str = "") -> str:
    """Return a small convolutional network as a plug-in; ``layers`` is what its function returns."""
    return (
        f'{_HEADER}@backbone("own/faulty", framework="torch", input_size=32{declared})\n'
        "def faulty(num_classes):\n    import torch\n    from torch import nn\n\n"
        f"{before}    return {layers}\n"
    )


def _keras_plugin(last: str, *, declared: str = "", first: str = "", before: str = "") -> str:
    """Return a small Keras network as a plug-in, on TensorFlow; ``first`` and ``last`` are layers of it."""
    return (
        f'{_HEADER}@backbone("own/faulty", framework="keras", input_size=32{declared})\n'
        "def faulty(num_classes, input_size):\n    import keras\n    from keras import layers\n\n"
        f"{before}    return keras.Sequential([keras.Input((input_size, input_size, 3)), {first}\n"
        '        layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Flatten(),\n'
        f"        {last}])\n"
    )


_BODY = "nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))"
_HEAD = "nn.Sequential(nn.Flatten(), nn.Linear(16 * 32 * 32, num_classes))".replace("32 * 32", "16 * 16")

SOUND = _plugin(f"nn.Sequential({_BODY}, {_HEAD})")

PLANTED = (
    Planted(
        "a way of its own when it is exported",
        "can_be_exported",
        "whether it is traced",
        _plugin(
            f"nn.Sequential({_BODY}, Scale(), {_HEAD})",
            before="""    class Scale(nn.Module):
        def forward(self, x):
            return 2 * x if torch.compiler.is_exporting() else x

""",
        ),
    ),
    Planted(
        "a softmax before the loss",
        "gives_logits",
        "remove the softmax",
        _plugin(f"nn.Sequential({_BODY}, nn.Sequential({_HEAD}, nn.Softmax(1)))"),
    ),
    Planted(
        "a head that ignores num_classes",
        "builds",
        "num_classes",
        _plugin(f"nn.Sequential({_BODY}, {_HEAD.replace('num_classes', '3')})"),
    ),
    Planted(
        "preprocessing applied twice",
        "preprocessing_applied",
        "normalizes by itself".replace("normalizes", "normalises"),
        _plugin(
            "Twice()",
            before=f"""    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = {_BODY}
            self.head = {_HEAD}

        def forward(self, x):
            return self.head(self.body(x / 255))

""",
        ),
    ),
    Planted(
        "swapped channels",
        "preprocessing_applied",
        "its library prepares images with",
        f'{_HEADER}@backbone("own/faulty", framework="torch", input_size=32, library="timm",\n'
        '    preprocessing=Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), channel_order="bgr"))\n'
        "def faulty(num_classes):\n    import timm\n\n"
        '    return timm.create_model("resnet10t", num_classes=num_classes)\n',
    ),
    Planted(
        "BatchNorm that updates its statistics while frozen",
        "freezes",
        "these still change",
        _plugin(
            f"nn.Sequential(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Stubborn(16), nn.MaxPool2d(2)), {_HEAD})",
            before="""    class Stubborn(nn.BatchNorm2d):
        def forward(self, x):
            with torch.no_grad():
                self.running_mean.lerp_(x.mean((0, 2, 3)), 0.1)
            return super().forward(x)

""",
        ),
    ),
    Planted(
        "stages in the wrong order",
        "stages_equal_whole",
        "order of the forward pass",
        _plugin(
            "Net()",
            declared=", stages=lambda model: [model.second, model.first, model.head]",
            before="""    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())
            self.second = nn.Sequential(nn.Conv2d(3, 3, 5, padding=2), nn.ReLU())
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

        def forward(self, x):
            return self.head(self.second(self.first(x)))

""",
        ),
    ),
    Planted(
        "a stage that changes its input in place",
        "stages_equal_whole",
        "in place",
        _plugin(
            f"nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Doubled(), nn.Sequential(nn.MaxPool2d(2), {_HEAD}))",
            before="""    class Doubled(nn.Module):
        def forward(self, x):
            with torch.no_grad():
                x.mul_(2.0)
            return x.relu()

""",
        ),
    ),
    Planted(
        "a layer that the optimiser gets and the forward pass leaves out",
        "gradients_reach_all",
        "have not moved",
        _plugin(
            "Net()",
            before=f"""    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = {_BODY}
            self.unused = nn.Conv2d(16, 16, 1)
            self.head = {_HEAD}

        def forward(self, x):
            return self.head(self.body(x))

""",
        ),
    ),
    Planted(
        "a layer left out of the optimiser",
        "survives_saving",
        "registered buffers",
        _plugin(
            "Net()",
            before=f"""    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = [nn.Conv2d(3, 3, 3, padding=1)]  # a plain list: not registered
            self.body = {_BODY}
            self.head = {_HEAD}

        def forward(self, x):
            return self.head(self.body(self.hidden[0](x)))

""",
        ),
    ),
    Planted(
        "a cut gradient",
        "gradients_reach_all",
        "have not moved",
        _plugin(
            "Net()",
            before=f"""    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = {_BODY}
            self.head = {_HEAD}

        def forward(self, x):
            return self.head(self.body(x).detach())

""",
        ),
    ),
    Planted(
        "randomness that ignores the seed",
        "seeded",
        "numpy or random",
        _plugin(
            f"nn.Sequential({_BODY}, Noise(), {_HEAD})",
            before="""    import os

    class Noise(nn.Module):
        def forward(self, x):
            if self.training:
                return x * (1 + int.from_bytes(os.urandom(2), "little") / 65536)
            return x

""",
        ),
    ),
    Planted(
        "initial weights that ignore the seed",
        "seeded",
        "starts from other weights",
        _plugin(
            f"nn.Sequential({_BODY}, head)",
            before=f"""    import os

    head = {_HEAD}
    with torch.no_grad():
        head[1].weight.mul_(1 + int.from_bytes(os.urandom(2), "little") / 65536)
""",
        ),
    ),
    Planted(
        "state kept between calls",
        "stateless",
        "don't keep values between calls",
        _plugin(
            f"nn.Sequential({_BODY}, Memory(), {_HEAD})",
            before="""    class Memory(nn.Module):
        last = None

        def forward(self, x):
            mixed = x if self.last is None or self.last.shape != x.shape else 0.9 * x + 0.1 * self.last
            self.last = x.detach()
            return mixed

""",
        ),
    ),
    Planted(
        "a batch's statistics in inference mode",
        "batch_independent",
        "respect inference mode",
        _plugin(
            f"nn.Sequential({_BODY}, {_HEAD})".replace(
                "BatchNorm2d(16)", "BatchNorm2d(16, track_running_stats=False)"
            )
        ),
    ),
    Planted(
        "dead units: a network that can't learn",
        "overfits_one_batch",
        "cut gradient",
        _plugin(
            f"nn.Sequential({_BODY}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1), Same()))",
            before="""    class Same(nn.Module):
        def forward(self, x):
            return x.expand(-1, num_classes)

""",
        ),
    ),
    Planted(
        "models kept for ever",
        "returns_memory",
        "stay in use",
        _plugin(
            "kept[-1]",
            before=f"""    kept = torch.__dict__.setdefault("_kept_by_a_test", [])
    head = nn.Sequential(nn.Flatten(), nn.Linear(4096, 4096), nn.Linear(4096, num_classes))
    kept.append(nn.Sequential({_BODY}, head))
""",
        ),
    ),
    Planted(
        "stages that leave out the dropout: only training mode can tell",
        "stages_equal_whole",
        "in training mode",
        _plugin(
            "Net()",
            declared=", stages=lambda model: [model.body, model.head]",
            before=f"""    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = {_BODY}
            self.dropout = nn.Dropout(0.5)
            self.head = {_HEAD}

        def forward(self, x):
            return self.head(self.dropout(self.body(x)))

""",
        ),
    ),
    Planted(
        "a CAM stage that is none of its stages",
        "can_be_explained",
        "no stage 'layer4'",
        _plugin(f"nn.Sequential({_BODY}, {_HEAD})", declared=", cam_stage='layer4'"),
    ),
    Planted(
        "Keras: a softmax before the loss",
        "gives_logits",
        "remove the softmax",
        _keras_plugin('layers.Dense(num_classes, activation="softmax")'),
    ),
    Planted(
        "Keras: preprocessing applied twice",
        "preprocessing_applied",
        "normalises by itself",
        _keras_plugin("layers.Dense(num_classes)", first="layers.Rescaling(1 / 255),"),
    ),
    Planted(
        "Keras: stages in the wrong order",
        "stages_equal_whole",
        "order of the forward pass",
        _keras_plugin(
            "layers.Dense(num_classes)",
            declared=", stages=lambda model: [model.layers[1], model.layers[0], *model.layers[2:]]",
            first='layers.Conv2D(3, 3, padding="same", activation="tanh"),',
        ),
    ),
    Planted(
        "Keras: randomness that ignores the seed",
        "seeded",
        "numpy or random",
        _keras_plugin(
            "Noise(), layers.Dense(num_classes)",
            before="""    import os

    class Noise(layers.Layer):
        def call(self, x, training=False):
            if not training:
                return x
            return x * (1 + int.from_bytes(os.urandom(2), "little") / 65536)

""",
        ),
    ),
)
