"""What a request becomes: runs with every choice resolved, before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from backbones import Backbone
from benchmark.data.options import DataOptions
from benchmark.errors import UserError
from benchmark.execution.planning import datasets, devices
from benchmark.execution.planning.devices import DeviceChoice, choose_devices
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.planning.request import Request
from benchmark.execution.planning.weights import check_policy, resolve_weights
from benchmark.recipe import SHIPPED
from benchmark.records.outcomes import Outcome
from tests.execution.commands import GOOD, make_images, request_on

PLUGIN = (
    GOOD
    + """
@backbone("test/big", framework="torch", input_size=40)
def big(num_classes):
    return tiny(num_classes)


@backbone("test/tensorflow_only", framework="keras", input_size=16, keras_backends=("tensorflow",))
def tensorflow_only(num_classes):
    return None


@backbone("test/bad_weights", framework="torch", input_size=16, local_weights=lambda: 1 / 0)
def bad_weights(num_classes):
    return tiny(num_classes)
"""
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("plan") / "images")


@pytest.fixture
def request_for(pictures: Path, tmp_path: Path) -> Request:
    return request_on(pictures, tmp_path, PLUGIN, size=0)


def test_each_backbone_and_seed_is_a_run_of_its_own(request_for: Request) -> None:
    made = make_plan(replace(request_for, backbones=("test/good", "test/big", "test/good"), seeds=(0, 1)))
    assert [(job.run.backbone, job.run.seed) for job in made.jobs] == [
        ("test/good", 0), ("test/good", 1), ("test/big", 0), ("test/big", 1),
    ]  # fmt: skip
    assert len({job.key for job in made.jobs}) == 4


def test_size_0_is_each_backbones_own_and_the_images_are_the_same(request_for: Request) -> None:
    small, big = make_plan(replace(request_for, backbones=("test/good", "test/big"))).jobs
    assert (small.run.recipe.size, big.run.recipe.size) == (16, 40)
    assert small.run.images_hash == big.run.images_hash
    assert small.run.split_hash == big.run.split_hash
    assert small.data_folder != big.data_folder


def test_all_is_every_registered_backbone_and_plugin(request_for: Request) -> None:
    names = {job.run.backbone for job in make_plan(replace(request_for, backbones=(), all=True)).jobs}
    assert {"test/good", "test/big", "keras/baseline_cnn", "torch/baseline_cnn"} <= names
    assert not any(":" in name for name in names)


def test_seeds_share_the_split(request_for: Request) -> None:
    made = make_plan(replace(request_for, seeds=(0, 1, 2)))
    assert len({job.run.split_hash for job in made.jobs}) == 1


def test_the_same_run_is_the_same_key_whatever_names_its_recipe(request_for: Request, tmp_path: Path) -> None:
    [first] = make_plan(request_for).jobs
    shipped = SHIPPED / "quick.toml"
    (tmp_path / "mine.toml").write_text(shipped.read_text())
    [second] = make_plan(replace(request_for, recipe=str(tmp_path / "mine.toml"))).jobs
    assert first.key == second.key
    assert (first.recipe_name, second.recipe_name) == ("quick + size=0", "mine + size=0")
    [third] = make_plan(replace(request_for, changes={"size": 0, "epochs": 2})).jobs
    assert third.key != first.key
    assert third.recipe_name == "quick + epochs=2, size=0"


def test_the_plugins_code_is_part_of_the_run(request_for: Request) -> None:
    [before] = make_plan(request_for).jobs
    request_for.settings.plugins[0].write_text(PLUGIN + "\n# changed\n")
    [after] = make_plan(request_for).jobs
    assert before.key != after.key


def test_what_can_not_run_is_known_before(request_for: Request) -> None:
    wanted = replace(
        request_for,
        backbones=("test/tensorflow_only", "test/bad_weights"),
        settings=request_for.settings.model_copy(update={"keras_backend": "torch"}),
    )
    keras_only, bad_weights = make_plan(replace(wanted, weights="local")).jobs
    assert keras_only.verdict is not None
    assert keras_only.verdict[0] is Outcome.UNSUPPORTED
    assert "--keras-backend" in keras_only.verdict[1]
    assert bad_weights.verdict is not None
    assert bad_weights.verdict[0] is Outcome.ERROR
    assert "ZeroDivisionError" in bad_weights.verdict[1]


def test_the_phantom_and_real_data_have_defaults_of_their_own(
    request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_images = request_for.data.source
    [real] = make_plan(replace(request_for, recipe=None, changes={"size": 16})).jobs
    assert (real.recipe_name.split(" ")[0], real.weights.policy) == ("default", "imagenet")

    opened = datasets.open_data
    monkeypatch.setattr(datasets, "open_data", lambda how, **more: opened(replace(how, source=real_images), **more))
    [simulated] = make_plan(replace(request_for, data=DataOptions(), recipe=None, changes={"size": 16})).jobs
    assert (simulated.recipe_name.split(" ")[0], simulated.weights.policy) == ("quick", "local")


def test_a_batch_larger_than_the_training_images_makes_no_sense(request_for: Request) -> None:
    with pytest.raises(UserError, match="--batch-size 5000 is more than the"):
        make_plan(replace(request_for, changes={"batch_size": 5000}))
    assert request_for.out is not None
    assert not request_for.out.exists(), "something was written although the input was wrong"


# weights


def a_backbone(**declared: object) -> Backbone:
    return Backbone(name="test/x", framework="torch", build=lambda: None, **declared)  # type: ignore[arg-type]


def test_weights_policies(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"weights")
    packaged = a_backbone(imagenet="hub@1", local_weights=lambda: file)
    fetched = a_backbone(imagenet="hub@1", local_weights=lambda: None)
    without = a_backbone()

    def resolved(backbone: Backbone, policy: str) -> tuple[str, str, object]:
        weights = resolve_weights(backbone, policy)
        return weights.requested, weights.used, weights.source

    # packaged weights satisfy imagenet without a network, and are the same run as local
    assert resolved(packaged, "imagenet") == ("imagenet:hub@1", "imagenet", file)
    assert resolved(packaged, "local") == resolved(packaged, "imagenet")
    assert resolved(fetched, "imagenet") == ("imagenet:hub@1", "imagenet", "imagenet")
    assert resolved(fetched, "local") == ("none", "none", None)
    for policy in ("imagenet", "local", "none"):
        assert resolved(without, policy) == ("none", "none", None)
    assert resolved(packaged, "none") == ("none", "none", None)
    requested, used, source = resolved(without, check_policy(str(file)))
    assert requested.startswith("sha256:")
    assert (used, source) == ("file", file)


def test_a_weights_policy_that_is_no_word_and_no_file() -> None:
    with pytest.raises(UserError, match="give imagenet, local, none or the path"):
        check_policy("imagnet")


# devices


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "driver_shows_gpu", lambda: False)
    assert {choice.kind for choice in choose_devices("auto", {"torch", "tensorflow"}).values()} == {"cpu"}
    with pytest.raises(UserError, match="--device cuda"):
        choose_devices("cuda", {"torch"})


def test_a_gpu_is_used_only_by_the_framework_that_sees_it(
    monkeypatch: pytest.MonkeyPatch, request_for: Request
) -> None:
    gpu = DeviceChoice("cuda", "a GPU", bfloat16=True)
    monkeypatch.setattr(devices, "driver_shows_gpu", lambda: True)
    monkeypatch.setattr(devices, "_ask", lambda engine: gpu if engine == "torch" else None)
    chosen = choose_devices("auto", {"torch", "tensorflow"})
    assert (chosen["torch"].kind, chosen["tensorflow"].kind) == ("cuda", "cpu")
    # asked for by name, the GPU is insisted on: the run fails where the framework doesn't see it
    assert choose_devices("cuda", {"tensorflow"})["tensorflow"].kind == "cuda"
    assert choose_devices("cpu", {"torch"})["torch"].kind == "cpu"

    automatic = replace(request_for, device="auto", changes={"size": 16, "execution.precision": "auto"})
    [job] = make_plan(automatic).jobs
    assert (job.run.device_kind, job.run.precision, job.device) == ("cuda", "bfloat16", "a GPU")
    [on_cpu] = make_plan(replace(automatic, device="cpu")).jobs
    assert on_cpu.run.precision == "float32"


def test_a_library_s_network_is_told_from_the_declared_one(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images")
    words = {"device": "cpu", "recipe": "quick", "weights": "none", "out": tmp_path / "out"}
    chosen = ("timm:resnet50", "timm:resnet50.a1_in1k", "keras:EfficientNetB0", "timm:resnet18", "timm/vgg16")
    notes = make_plan(Request(backbones=chosen, data=DataOptions(str(images)), **words)).notes  # type: ignore[arg-type]
    told = [note.partition(" is what")[0] for note in notes if "makes of that name" in note]
    assert told == ["timm:resnet50", "timm:resnet50.a1_in1k", "keras:EfficientNetB0"]
    assert any(
        "It is not timm/resnet50, whose weights are timm/resnet50.a1_in1k: they are two rows" in n for n in notes
    )


def test_a_learning_rate_is_not_chosen_by_a_handful_of_images(tmp_path: Path) -> None:
    for rates, few in (((1e-4, 1e-3), True), ((1e-3,), False)):
        request = request_on(make_images(tmp_path / str(few)), tmp_path, GOOD, **{"tuning.learning_rates": rates})
        (job,) = make_plan(request).jobs
        assert (job.verdict is not None) == few
        if job.verdict is not None:
            outcome, reason = job.verdict
            assert outcome is Outcome.BAD_DATA
            assert "too few to choose among 2 learning rates" in reason
