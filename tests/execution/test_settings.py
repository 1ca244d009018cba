"""What the user chose for a run goes from the command line to the stored record in one piece."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.cli.main import cli
from benchmark.errors import UserError
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.planning.request import Request, request_of
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.settings import Settings
from tests.execution.commands import GOOD, make_images, request_on
from tests.execution.samples import a_record, a_run


def request_by(*words: str) -> Request:
    """Return the request that a command line makes."""
    options = dict(cli.make_context("benchmark", list(words)).params)
    del options["debug"]
    return request_of(options)


def test_every_setting_is_an_option_of_the_command(tmp_path: Path) -> None:
    plugin = tmp_path / "p.py"
    plugin.touch()
    assert set(Settings.model_fields) <= {parameter.name for parameter in cli.params}
    words = ("--plugin", str(plugin), "--keras-backend", "torch", "--allow-scratch", "--oom", "accumulate",
             "--cam", "5",
             "--cache-budget", "1MB", "--cam-check", "--cam-method", "layercam", "--keep-models", "all",
             "--checkpoint-every", "7", "--workers", "2", "--corruptions", "noise", "blur")  # fmt: skip
    asked = request_by("--all", *words).settings
    assert (asked.plugins, asked.keras_backend, asked.oom) == ((plugin,), "torch", "accumulate")
    assert (asked.cams, asked.cache_budget, asked.checkpoint_every) == (5, 10**6, 7.0)
    assert asked.workers == 2
    assert asked.corruptions == ("noise", "blur")
    assert asked.allow_scratch
    assert asked.cam_check
    assert asked.cam_method == "layercam"
    assert asked.keep_models == "all"
    assert request_by("--all").settings == Settings()


def test_a_setting_that_is_not_allowed_is_named_as_its_option() -> None:
    options: dict[str, Any] = dict(cli.make_context("benchmark", ["--all"]).params)
    del options["debug"]
    with pytest.raises(UserError, match=r"^--keep-models: Input should be 'all', 'best' or 'none'"):
        request_of({**options, "keep_models": "perhaps"})


def test_they_reach_the_record_and_change_no_identity(tmp_path: Path) -> None:
    request = request_on(make_images(tmp_path / "images"), tmp_path, GOOD)
    chosen = request.settings.model_copy(update={"cams": 0, "oom": "accumulate", "allow_scratch": True, "workers": 1})
    (plain,), (job,) = make_plan(request).jobs, make_plan(replace(request, settings=chosen)).jobs
    assert job.key == plain.key
    assert job.settings == chosen
    record = job.record(Outcome.INTERRUPTED, "Stopped.")
    assert Record.model_validate_json(record.model_dump_json()).settings == chosen


def test_records_of_before_settings_were_kept_are_read() -> None:
    record = a_record()
    values = record.model_dump_json(exclude={"settings"})
    assert "settings" not in values
    assert Record.model_validate_json(values) == record
    assert record.settings is None


def test_records_of_when_checkpoints_could_be_kept_are_read() -> None:
    record = a_record().model_copy(update={"settings": Settings()})
    values = json.loads(record.model_dump_json())
    values["settings"] = {**values["settings"], "keep_weights": True}
    assert Record.model_validate_json(json.dumps(values)) == record
    values["settings"]["keep_weights"] = "a stranger's"
    with pytest.raises(ValidationError):
        Record.model_validate_json(json.dumps(values))


def test_the_recipe_of_a_record_is_typed() -> None:
    assert a_record().recipe == a_run().recipe == Recipe(epochs=1, size=16)
    for identity in ({}, {"recipe": None}, {"recipe": {"epochs": "many"}}, {"recipe": {"of_another_version": 1}}):
        assert a_record().model_copy(update={"identity": identity}).recipe is None
