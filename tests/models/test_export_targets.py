"""The table of what a kept network can be written as, and how a wish that can't be met is refused."""

from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.export_targets import QUICKEST, TARGETS
from benchmark.models.export import writer_of
from tests.models.described import a_model

READERS = {"torch": ("timm", "timm"), "keras": ("keras", "keras"), "keras-cv": ("keras", "keras_cv")}


def of(reader: str) -> Any:
    """Return a description of a model that a library reads."""
    model = a_model()
    name, library = READERS[reader]
    return model.model_copy(
        update={
            "reader": {**model.reader, "reader": name},
            "backbone": model.backbone.model_copy(update={"library": library, "name": f"{library}/some"}),
        }
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_network_goes_to_onnx_and_others_are_refused_by_name(reader: str, target: str) -> None:
    engine = TARGETS[target].engines.get(reader)  # type: ignore[call-overload]
    if engine is not None:
        assert writer_of(of(reader), target) == engine
        return
    assert target != "onnx"
    with pytest.raises(
        UserError, match=rf"is a network of {reader}, which has no {target}.*give --to onnx, "
    ) as refused:
        writer_of(of(reader), target)
    named = str(refused.value).partition("give --to ")[2].rstrip(".").replace(" or ", ", ").split(", ")
    assert all(writer_of(of(reader), name) for name in named)


def test_files_have_names_of_their_own() -> None:
    names = [target.file(name, whole=whole) for name, target in TARGETS.items() for whole in (False, True)]
    assert len(set(names)) == len(names)
    assert all(engine in TARGETS[target].engines.values() for engine, target in QUICKEST.items())


def test_torch_writes_what_the_table_says() -> None:
    from benchmark.engines.torch.export import READERS as reads
    from benchmark.engines.torch.export import WRITERS as writes

    assert set(writes) == {name for name, target in TARGETS.items() if "torch" in target.engines.values()}
    assert set(reads) == {name for name, target in TARGETS.items() if target.runtime == "torch"}
