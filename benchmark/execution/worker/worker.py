"""The worker: a process that does runs in one framework (``python -m benchmark.execution.worker.worker``).

Its stdout carries events and its stdin says which runs to do (:mod:`~benchmark.execution.worker.channel`). Both
are moved to descriptors of their own before any backbone's code runs, so that what that code prints or reads can't
get between.
The worker writes each record itself; should it not come to that, the controller does from what it saw. A run that
does not end well is the last of its worker.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from backbones import Backbone
from benchmark.atomic_files import write_atomically
from benchmark.data.dataset import DataSet, Split
from benchmark.engines import Engine, Network, engine_entry
from benchmark.engines.base import NotKept
from benchmark.engines.one_framework import assert_one_framework, shut_out_other_framework
from benchmark.engines.warm_start import NoFinalWeights, save_final
from benchmark.evaluation.metrics import score
from benchmark.execution.executors.process_tree import (
    ATTEMPT_VARIABLE,
    adopt_orphans,
    be_first_to_go,
    go_on_without_parent,
)
from benchmark.execution.worker.channel import Channel, print_to
from benchmark.execution.worker.further_results import Trained, corrupted_decisions, explained, log_traceback
from benchmark.execution.worker.inputs import build_spec, caching_of, find_declared, load_images, new_engine
from benchmark.execution.worker.job import Job
from benchmark.execution.worker.provenance import describe, differences
from benchmark.execution.worker.speeds import measured_again, speed_of
from benchmark.measurement.throughput import Speeds, measure
from benchmark.models.keep import keep_model
from benchmark.process_memory import give_memory_back, hold_memory
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome, RunFailure, outcome_of, unreachable
from benchmark.records.record import Cams, NetworkFacts, Predictions, Record, Throughput, Timings
from benchmark.records.soundness import problem_with
from benchmark.records.store import RecordStore
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.train import train

# What a run leaves: its record, predictions, heat maps and decisions of spoilt images.
Left = tuple[Record, Predictions | None, Cams | None, Corrupted | None]
# A worker whose controller was killed ends itself at once; its successor waits for it no longer than this.
_PREDECESSOR_SECONDS = 60.0


def main() -> int:
    """Do the runs that the controller gives; return 0 when the last record is stored, whatever its outcome."""
    channel = Channel.from_standard_streams()
    adopt_orphans()
    be_first_to_go()
    go_on_without_parent()
    signal.signal(signal.SIGTERM, channel.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the controller's to answer
    # the process's own start, on the clock that no one sets
    began = time.monotonic() - max(0.0, time.time() - psutil.Process().create_time())
    runs_before, speeds = 0, Speeds()
    while True:
        values, os.environ[ATTEMPT_VARIABLE] = channel.next_run()
        job = Job.model_validate(values)
        if runs_before:
            began = time.monotonic()
            print_to(job.log)
        outcome = _Work(job, channel, began, runs_before, speeds).do()
        if outcome is not Outcome.OK:
            return int(outcome is None)
        engine_entry(job.run.engine).free()
        give_memory_back()
        channel.report({"event": "stored", "outcome": outcome})
        runs_before += 1


class _Work:
    """One attempt at a run, and what came to be known by the time it ended.

    Args:
        job: what to do.
        channel: is told of it.
        began: when, by :func:`time.monotonic`.
        runs_before: how many runs this process has done before.
        speeds: what they have measured.
    """

    def __init__(self, job: Job, channel: Channel, began: float, runs_before: int, speeds: Speeds) -> None:
        self.job, self.channel, self.began, self.speeds = job, channel, began, speeds
        self.seconds: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        attempt = os.environ.get(ATTEMPT_VARIABLE, "")
        self.provenance: dict[str, Any] = {"command": job.command, "attempt": attempt}
        self.provenance["runs_before_in_process"] = runs_before

    def do(self) -> Outcome | None:
        """Do the run and store its record; return its outcome, ``None`` where it could not be stored.

        That an ``ok`` is stored is for the caller to tell, once nothing of the run is left.
        """
        job, report = self.job, self.channel.report
        job.work.mkdir(parents=True, exist_ok=True)
        busy = FileLock(job.work / "busy.lock")
        try:
            busy.acquire(timeout=_PREDECESSOR_SECONDS)
        except Timeout:
            reason = "Another worker still has this run's checkpoints; end it, or give the same command later."
            report({"event": "unstored", "outcome": Outcome.ERROR, "reason": reason})
            return None
        except (OSError, NotImplementedError):
            log_traceback()  # a file system without locks: the claim guards the run by itself
        try:
            record, predictions, cams, corrupted = self.attempt()
            RecordStore(job.out).write(record, predictions, cams, corrupted)
        except OSError as error:
            log_traceback()
            outcome, reason = outcome_of(error)
            report({"event": "unstored", "outcome": outcome, "reason": reason})
            return None
        finally:
            busy.release()
        if record.outcome is not Outcome.OK:
            report({"event": "stored", "outcome": record.outcome})
        return record.outcome

    def attempt(self) -> Left:
        """Return what the run leaves; whatever is raised becomes its record's outcome."""
        try:
            return self.carry_out()
        except BaseException as error:  # SystemExit too: a backbone's code may raise anything
            log_traceback()
            outcome, reason = outcome_of(error, shut_out=engine_entry(self.job.run.engine).excludes)
            self.provenance["log_tail"] = self.job.log_tail()
            return self.job.record(outcome, reason, **self.fields()), None, None, None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the record that are known so far."""
        seconds = {**self.seconds, "total_s": time.monotonic() - self.began}
        timings = self.facts.get("timings", Timings()).model_copy(update=seconds)
        return {**self.facts, "timings": timings, "provenance": self.provenance}

    def phase(self, name: str) -> None:
        self.channel.report({"event": "phase", "phase": name})

    def carry_out(self) -> Left:
        """Do the run, from the adapter to the record."""
        job, run = self.job, self.job.run
        shut_out_other_framework(run.engine)
        if engine_entry(run.engine).holds_memory and run.device_kind == "cpu":
            hold_memory()
        backbone = find_declared(job)
        data, split = load_images(job)
        engine, network = self._build(backbone, len(data.class_names))
        if job.speeds_only:
            return self._measure_again(engine, network, data, split)

        checkpoints = Checkpoints(job.work / "checkpoints", every_s=job.settings.checkpoint_every)
        self._compare_with_earlier_attempt(checkpoints.folder)
        training = train(
            engine, network, data, split, run.recipe, run.seed,
            report=self.channel.report, checkpoints=checkpoints, should_stop=self.channel.should_stop,
            oom=job.settings.oom, caching=caching_of(job, backbone, self.provenance),
        )  # fmt: skip
        self.provenance["frozen_prefix"] = dict(training.feature_cache)
        self.facts["timings"] = training.timings
        self.facts["history"] = training.history
        self.facts["best_epoch"] = training.best_epoch
        self.facts["trials"] = training.trials
        self.facts["network"] = self.facts["network"].model_copy(update={"execution": dict(training.execution)})
        self.provenance["resumed_from_epoch"] = training.resumed_from
        if job.keep_final:
            save_final(engine.weights(), job.final_weights)
        wrong = problem_with(training.predictions, len(data.class_names))
        if wrong:
            raise RunFailure(Outcome.ERROR, f"What the backbone predicted can't be used: {wrong}.")

        flips = run.recipe.testing.flips
        speeds, self.provenance["speeds_measured_in"] = self.speeds.of(
            speed_of(backbone, run, len(data.class_names), training.batch_size, training.execution),
            job.key,
            lambda: self._measured_alone(
                lambda: measure(engine, data, split.test, training.batch_size, flips, report=self.channel.report)
            ),
        )
        self.facts["throughput"] = speeds.model_copy(
            update={
                "peak_memory_mb": engine.peak_memory_bytes() / 2**20,
                "train_images_per_s": training.train_images_per_s,
                "train_images_per_s_iqr": training.train_images_per_s_iqr,
            }
        )
        trained = Trained(engine, network, data, split, training.predictions, training.batch_size)
        self._keep(trained, backbone.cam_stage)
        corrupted = corrupted_decisions(job, trained, self.channel, self.facts)
        cams = explained(job, trained, self.channel, self.facts, self.seconds)
        assert_one_framework(run.engine)
        return job.record(Outcome.OK, **self.fields()), training.predictions, cams, corrupted

    def _measure_again(self, engine: Engine, network: Network, data: DataSet, split: Split) -> Left:
        """Return what the run left, with speeds that are measured now."""
        store = RecordStore(self.job.out)
        earlier = store.read(self.job.key)
        predictions = None if earlier is None else store.predictions(earlier)
        if earlier is None or predictions is None:
            raise RunFailure(Outcome.ERROR, "The run's record is gone: its speeds can't be measured anew.")
        with self.channel.silence():
            record = measured_again(self.job, earlier, engine, network, data, split, self.channel.report)
        assert_one_framework(self.job.run.engine)
        again = {"speeds_measured_in": self.job.key, "speeds_measured_again": self.provenance}
        again["attempt"] = self.provenance["attempt"]
        return (
            record.model_copy(update={"provenance": {**earlier.provenance, **again}}),
            predictions,
            store.cams(earlier),
            store.corrupted(earlier),
        )

    def _measured_alone(self, take: Callable[[], Throughput]) -> Throughput:
        """Return speeds that are measured while no other run of this command goes on."""
        with self.channel.silence():
            start = time.perf_counter()
            speeds = take()
            self.seconds["throughput_s"] = time.perf_counter() - start
            return speeds

    def _keep(self, trained: Trained, cam_stage: str | None) -> None:
        """Keep the trained network where that is asked for; that it can't be never costs the run its scores."""
        wish, least = self.job.settings.keep_models, self.job.keep_model_from
        if wish == "none":
            return
        test = trained.predictions.part("test")
        macro_f1 = score(test.labels, test.probabilities, tuple(trained.data.class_names)).macro_f1
        if wish == "best" and macro_f1 < least:
            self.provenance["model_not_kept"] = "other runs are better"
            return
        start = time.perf_counter()
        try:
            record = self.job.record(Outcome.OK, **self.fields())
            folder = keep_model(
                trained.engine, trained.data, trained.split, record, trained.predictions, self.job.out,
                keeps=wish, cam_stage=cam_stage, report=self.channel.report,
            )  # fmt: skip
            self.provenance["model"] = f"models/{folder.name}"
        except Exception as error:  # a network may be anything
            if not isinstance(error, NotKept):
                log_traceback()
            reason = str(error).rstrip(".") if isinstance(error, NotKept) else outcome_of(error)[1].rstrip(".")
            self.provenance["model_not_kept"] = reason
            self.channel.report({"event": "note", "note": f"The trained model is not kept: {reason}."})
        self.provenance["model_s"] = round(time.perf_counter() - start, 3)

    def _build(self, backbone: Backbone, num_classes: int) -> tuple[Engine, Network]:
        """Import the framework, build the network, and load its weights or go on without where that is allowed."""
        self.phase("importing")
        source, used = self.job.weights.source, self.job.weights.used
        source = None if self.job.speeds_only else source  # a speed does not depend on what weights say
        fell_back = ""
        try:
            engine, network = self._build_with(backbone, source, num_classes)
        except Exception as error:
            missing = outcome_of(error)[0] is Outcome.MISSING_WEIGHTS
            if not missing and source == "imagenet" and unreachable(error):
                missing = True
            if not missing or source is None or isinstance(error, NoFinalWeights):
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if not self.job.settings.allow_scratch:
                raise RunFailure(
                    Outcome.MISSING_WEIGHTS,
                    f"{reason.rstrip('.')}; give --weights none, a file, or --allow-scratch.",
                ) from error
            log_traceback()
            fell_back = reason
        if fell_back:
            engine, network = self._build_with(backbone, None, num_classes)
            used = "none"
            self.provenance["fell_back_because"] = fell_back
        self.provenance |= describe(
            self.job.run.device_kind, self.job.run.engine, network.execution.get("threads", "")
        )
        self.facts["network"] = NetworkFacts(
            parameters=network.parameters,
            trainable_parameters=network.trainable_parameters,
            gmacs=network.gmacs,
            stages=network.stages,
            stages_proven=network.stages_verified,
            preprocessing=asdict(network.preprocessing),
            execution=dict(network.execution),
            conventions=dict(network.conventions),
        )
        self.facts["weights"] = self.job.weights.facts(
            used=used, loaded=network.weights_loaded, hash=network.weights_hash, fell_back=bool(fell_back)
        )
        return engine, network

    def _build_with(self, backbone: Backbone, source: Path | str | None, num_classes: int) -> tuple[Engine, Network]:
        start = time.perf_counter()
        engine = new_engine(self.job)
        self.seconds["import_s"] = self.seconds.get("import_s", 0.0) + time.perf_counter() - start
        self.phase("building")
        start = time.perf_counter()
        initial = None if self.job.speeds_only else self.job.initial_weights
        network = engine.build(build_spec(self.job, backbone, num_classes, source, initial))
        self.seconds["build_s"] = self.seconds.get("build_s", 0.0) + time.perf_counter() - start
        return engine, network

    def _compare_with_earlier_attempt(self, checkpoints: Path) -> None:
        """Keep with the checkpoints under what they were made, and say what is different on resuming."""
        path = checkpoints / "provenance.json"
        now = {**self.provenance, "weights_hash": self.facts["weights"].hash}
        if any(checkpoints.glob("*last.safetensors")) and path.exists():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                changed = differences(before, now)
            except (ValueError, AttributeError):  # a power failure may have left it empty
                before, changed = {}, ["what it ran under before is not known"]
            if before.get("weights_hash", now["weights_hash"]) != now["weights_hash"]:
                changed.append("the initial weights are others")
            if changed:
                self.provenance["changed_before_resuming"] = changed
                self.channel.report({"event": "note", "note": f"Resumed although {'; '.join(changed)}."})
            return
        checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(now, default=str))


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # a framework that crashes while it is torn down must not spoil a stored record
