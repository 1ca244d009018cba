"""What a user finds in runs.csv, leaderboard.csv and leaderboard.md."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated import CLASSES, FOUR, TWELVE, Study

from benchmark.errors import UserError
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome
from benchmark.reporting.leaderboard import write_leaderboard

CONTRACT = [
    *("rank", "block", "backbone", "framework", "library", "weights", "recipe", "data", "split", "seed", "n_runs"),
    *("status", "reason", "macro_f1", "accuracy", "balanced_accuracy", "mcc", "auroc", "val_macro_f1"),
    *("fn_glioma", "fn_meningioma", "fn_notumor", "fn_pituitary"),
    *("missed_glioma", "missed_meningioma", "missed_pituitary"),
    *("train_images_per_s", "infer_images_per_s", "pipeline_images_per_s", "latency_p50_ms", "latency_p95_ms"),
    *("peak_memory_mb", "params_m", "gmacs", "device"),
]
SMALL = Study(patients=24, slices=2)
FIRST = FOUR[0]


def test_columns_have_the_agreed_names_in_the_agreed_order(tables) -> None:
    runs, board, _ = tables(SMALL.run(reader) for reader in FOUR)
    assert list(runs.columns[: len(CONTRACT)]) == CONTRACT
    assert list(board.columns[: len(CONTRACT)]) == CONTRACT
    assert "missed_notumor" not in board.columns


def test_the_board_says_what_was_taken_for_a_patient(tables) -> None:
    grouping = "patient ids that differ by a letter at the end only are one patient: 233 ids, 209 patients"
    _, _, text = tables(replace(SMALL, grouping=grouping).run(reader) for reader in FOUR)
    assert "Patient ids that differ by a letter at the end only are one patient: 233 ids, 209 patients." in text
    _, _, text = tables(SMALL.run(reader) for reader in FOUR)
    assert "differ by a letter" not in text


def test_pretrained_and_scratch_are_ranked_apart(tables) -> None:
    _, board, _ = tables(SMALL.run(reader) for reader in TWELVE)
    assert set(board["block"]) == {"phantom, holdout, pretrained", "phantom, holdout, scratch"}
    for _, block in board.groupby("block"):
        best_first = block.sort_values("macro_f1", ascending=False)
        assert best_first["rank"].min() == 1
        assert best_first["rank"].is_monotonic_increasing


def test_equal_scores_share_a_rank(tables) -> None:
    twin = replace(FIRST, name="torch/twin")
    worse = replace(FIRST, name="torch/worse", skill=0.5)
    _, board, _ = tables(SMALL.run(reader) for reader in (FIRST, twin, worse))
    assert list(board["rank"]) == [1, 1, 3]


def test_seeds_are_averaged_with_their_spread(tables) -> None:
    runs, board, text = tables(SMALL.run(FIRST, seed) for seed in (0, 1, 2))
    assert len(runs) == 3
    assert len(board) == 1
    row = board.iloc[0]
    assert row["seed"] == "0 1 2"
    assert row["n_runs"] == 3
    assert row["macro_f1"] == pytest.approx(runs["macro_f1"].mean())
    assert row["macro_f1_sd"] == pytest.approx(runs["macro_f1"].std(ddof=1))
    assert f"{row['macro_f1']:.3f} ± {row['macro_f1_sd']:.3f}" in text


def test_a_speed_that_runs_have_in_common_counts_once(tables) -> None:
    first, other = (SMALL.run(FIRST, seed) for seed in (0, 2))
    shared = {"speeds_measured_in": first[0].key}
    like = SMALL.run(FIRST, 1, throughput=first[0].throughput, provenance=shared)
    runs, board, _ = tables([first, like, other])
    row, speeds = board.iloc[0], sorted(set(runs["infer_images_per_s"]))
    assert len(speeds) == 2
    assert row["infer_images_per_s"] == pytest.approx(np.mean(speeds))
    assert row["infer_images_per_s_sd"] == pytest.approx(np.std(speeds, ddof=1))
    assert row["train_images_per_s_sd"] == pytest.approx(runs["train_images_per_s"].std(ddof=1))


def test_one_run_has_no_spread(tables) -> None:
    _, board, text = tables([SMALL.run(FIRST)])
    assert not [name for name in board.columns if name.endswith("_sd")]
    assert "±" not in text.split("## How to read this")[0]


def test_a_failed_run_is_shown_with_its_reason_and_without_scores(tables) -> None:
    failed = SMALL.run(TWELVE[5], outcome=Outcome.OOM, reason="7.2 GiB were asked for, 4 GiB are there")
    runs, board, text = tables([SMALL.run(FIRST), failed])
    row = board[board["backbone"] == "timm/vgg16"].iloc[0]
    assert row["status"] == "oom"
    assert row["block"] == "phantom, holdout, failed"
    assert row[["rank", "macro_f1", "fn_glioma"]].isna().all()
    assert row["n_runs"] == 0
    assert runs[runs["backbone"] == "timm/vgg16"]["reason"].item() == "7.2 GiB were asked for, 4 GiB are there"
    assert "7.2 GiB were asked for" in text


def test_a_row_whose_seeds_failed_in_part_is_shown_and_not_ranked(tables) -> None:
    failed = SMALL.run(FIRST, 1, outcome=Outcome.DIVERGED, reason="loss is NaN in epoch 2")
    _, board, _ = tables([SMALL.run(FIRST, 0), failed])
    row = board.iloc[0]
    assert (row["status"], row["n_runs"]) == ("diverged", 1)
    assert row["reason"] == "1 of 2 runs: loss is NaN in epoch 2"
    assert row["block"].endswith("incomplete")
    assert np.isnan(row["rank"])
    assert row["macro_f1"] > 0


def test_a_leaking_split_is_never_ranked_and_still_compared(tables, tmp_path: Path) -> None:
    leaking = replace(SMALL, leaks=("189 test images are copies of training images.",))
    _, board, text = tables(leaking.run(reader) for reader in FOUR)
    assert board["rank"].isna().all()
    assert all(name.endswith("leak") for name in board["block"])
    assert "The split leaks: 189 test images are copies of training images." in text
    assert "Rows have no rank because the split leaks" in text
    assert "One seed: the scores are of these trained models" in text
    assert set(pd.read_csv(tmp_path / "comparisons.csv")["block"]) == set(board["block"])


def test_a_row_that_fell_back_is_not_ranked_among_the_others(tables) -> None:
    record, predictions = SMALL.run(TWELVE[2])
    weights = record.weights.model_copy(update={"used": "none", "fell_back": True})
    _, board, _ = tables([SMALL.run(FIRST), (record.model_copy(update={"weights": weights}), predictions)])
    fell = board[board["backbone"] == "timm/resnet50"].iloc[0]
    assert fell["block"] == "phantom, holdout, scratch, fell back"
    assert np.isnan(fell["rank"])
    assert fell["weights"] == "none"
    assert board[board["backbone"] == FIRST.name]["rank"].item() == 1


def test_limited_rows_stand_in_a_marked_block_of_their_own(tables) -> None:
    _, board, text = tables([SMALL.run(FIRST), replace(SMALL, limit=48).run(FIRST)])
    assert set(board["block"]) == {"phantom, holdout, scratch", "phantom, holdout, limit 48, scratch"}
    assert list(board["rank"]) == [1, 1]
    assert "Limited to 48 images: not comparable with the whole data set." in text


def test_without_a_negative_class_there_are_no_missed_columns(tables) -> None:
    study = replace(
        SMALL, name="cheng", classes=("meningioma", "glioma", "pituitary"), negative_class=None, synthetic=False
    )
    _, board, text = tables([study.run(FIRST)])
    assert not [name for name in board.columns if name.startswith("missed_")]
    assert board.columns.get_loc("fn_meningioma") + 1 == board.columns.get_loc("fn_glioma")  # the data set's order
    assert "synthetic" not in text


def test_recipes_of_one_name_are_told_apart(tables) -> None:
    recipes = (Recipe(epochs=3, size=64), Recipe(epochs=3, size=128))
    _, board, _ = tables(SMALL.run(FIRST, recipe=recipe) for recipe in recipes)
    assert set(board["recipe"]) == {"default (size=64)", "default (size=128)"}


def test_speeds_of_two_devices_are_marked(tables) -> None:
    other = replace(SMALL, device="NVIDIA T4")
    _, board, text = tables([SMALL.run(FIRST), other.run(TWELVE[2])])
    assert board["speed_block"].nunique() == 2
    assert "1460 (b)" in text
    assert "92 (a)" in text
    assert "Only speeds with the same letter can be compared." in text


def test_speeds_measured_beside_other_programs_are_marked(tables) -> None:
    record, predictions = SMALL.run(FIRST)
    quiet, busy = (record.throughput.model_copy(update={"cores_taken_by_others": cores}) for cores in (0.1, 1.04))
    text = "Speeds were measured while other programs kept the processor busy"
    assert text not in tables([(record.model_copy(update={"throughput": quiet}), predictions)])[2]
    _, _, marked = tables([(record.model_copy(update={"throughput": busy}), predictions)])
    assert f"{text}, and can't be compared (cores taken): " in marked
    assert "(1.0)." in marked


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_runs_with_different_numbers_of_threads_are_told(tables, deterministic: bool) -> None:
    chosen = {"channels_last": "off", "compile": "off", "precision": "float32"}
    recipe = Recipe(epochs=3, execution={"deterministic": deterministic, **chosen})
    runs = []
    for threads, reader in (("1", FIRST), ("4 (as asked)", TWELVE[2])):
        record, predictions = SMALL.run(reader, recipe=recipe)
        network = record.network.model_copy(update={"execution": {"threads": threads}})
        runs.append((record.model_copy(update={"network": network}), predictions))
    text = "Deterministic runs were computed with different numbers of threads"
    assert text not in tables(runs[:1])[2]
    (told,) = [line for line in tables(runs)[2].splitlines() if text in line] or [""]
    assert (bool(told), " with 1" in told, " with 4" in told) == (deterministic,) * 3


def test_markdown_says_what_a_reader_must_know(tables) -> None:
    _, _, text = tables([SMALL.run(FIRST)])
    assert "Research software, not for clinical use." in text
    assert "The images are synthetic" in text
    assert "48 to test" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "`x` *y* [z](w)", "two\nlines"])
def test_names_are_escaped_in_markdown(tables, name: str) -> None:
    record, predictions = SMALL.run(FIRST)
    data = record.data.model_copy(update={"name": name})
    _, board, text = tables([(record.model_copy(update={"data": data, "recipe_name": name}), predictions)])
    assert board["data"].item() == name.replace("\n", "\N{REPLACEMENT CHARACTER}")  # no name moves the cursor
    assert "<script" not in text
    tables_found = [line for line in text.splitlines() if line.startswith("| ")]
    widths = {line.replace(r"\|", "").count("|") for line in tables_found[:3]}
    assert len(widths) == 1


def test_a_record_that_cannot_be_scored_is_named_and_the_rest_is_shown(tables) -> None:
    record, predictions = SMALL.run(FOUR[1])
    twice = replace(predictions, image_ids=np.full_like(predictions.image_ids, predictions.image_ids[-1]))
    _, board, text = tables([SMALL.run(FIRST), (record, twice)])
    row = board[board["backbone"] == record.backbone.name].iloc[0]
    assert row["status"] == "error"
    assert record.key[:12] in row["reason"]
    assert "is predicted 48 times" in text
    assert board[board["backbone"] == FIRST.name]["rank"].item() == 1


def test_a_damaged_record_is_named_and_the_rest_is_shown(results, undrawn) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    damaged = sorted((out / "records").iterdir())[0]
    (damaged / "predictions.npz").write_bytes(b"not an archive")
    write_leaderboard(out)
    text = (out / "leaderboard.md").read_text()
    assert f"records/{damaged.name} is not used" in text
    assert text.count("| default |") >= 3


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no records of runs"):
        write_leaderboard(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_records_give_the_same_tables(results) -> None:
    out = results(SMALL.run(reader, seed) for reader in FOUR for seed in (0, 1))
    write_leaderboard(out)
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    write_leaderboard(out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == first
    assert {"runs.csv", "leaderboard.csv", "leaderboard.md"} <= set(first)


def test_absent_values_are_empty(results, undrawn) -> None:
    record, predictions = SMALL.run(FIRST)
    slow = record.throughput.model_copy(update={"latency_p95_ms": None})
    out = results([(record.model_copy(update={"throughput": slow}), predictions)])
    write_leaderboard(out)
    with (out / "leaderboard.csv").open(newline="") as stream:
        cells = next(csv.DictReader(stream))
    assert cells["latency_p95_ms"] == ""
    assert cells["limit"] == ""
    assert cells["latency_p50_ms"] != ""


def test_every_score_has_an_interval(tables) -> None:
    _, board, text = tables(Study(patients=60).run(reader) for reader in FOUR)
    for name in (
        "macro_f1",
        "accuracy",
        "mcc",
        "auroc",
        "f1_glioma",
        "fn_glioma",
        "missed_glioma",
        "patient_fn_glioma",
    ):
        assert (board[f"{name}_low"] <= board[name]).all()
        assert (board[name] <= board[f"{name}_high"]).all()
        assert (board[f"{name}_low"] < board[f"{name}_high"]).all()
    assert "are computed from 60 patients (300 images)" in text
    assert "One seed: the ranks are of these trained models, not of these backbones." in text


def test_intervals_are_said_to_be_too_narrow_where_patients_are_unknown(tables) -> None:
    _, _, text = tables(replace(SMALL, grouped=False).run(reader) for reader in FOUR)
    assert "Patients are unknown: intervals treat images as independent and are too narrow." in text


def test_rows_that_cannot_be_told_apart_share_a_rank(tables, tmp_path: Path) -> None:
    near = replace(FIRST, name="torch/near", skill=FIRST.skill + 0.05)
    poor = replace(FIRST, name="torch/poor", skill=0.8)
    _, board, text = tables(Study(patients=60).run(reader) for reader in (FIRST, near, poor))
    assert text.count("| 1-2, tied for best |") == 2
    assert "| 3, 2 rows better |" in text
    assert dict(zip(board["backbone"], board["rank"], strict=True)) == {FIRST.name: 1, near.name: 1, poor.name: 3}
    assert dict(zip(board["backbone"], board["rank_last"], strict=True)) == {
        FIRST.name: 2,
        near.name: 2,
        poor.name: 3,
    }
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    assert len(pairs) == 3
    told_apart = pairs[pairs["better"].notna()]
    assert set(told_apart["second"]) == {poor.name}
    assert (told_apart["p_adjusted"] < 0.05).all()
    assert (pairs["p_adjusted"] >= pairs["p"]).all()


def test_three_seeds_are_resampled(tables) -> None:
    _, _, text = tables(SMALL.run(reader, seed) for reader in FOUR[:2] for seed in (0, 1, 2))
    assert "Seeds are resampled too: macro-F1 varies over them by " in text


def test_rows_with_one_seed_and_with_three_are_told_apart(tables) -> None:
    three = [SMALL.run(reader, seed) for reader in FOUR[:2] for seed in (0, 1, 2)]
    _, _, text = tables([*three, SMALL.run(replace(FOUR[1], name="torch/other", skill=2.0))])
    assert "Seeds are resampled too, in 2 of 3 rows: macro-F1 varies over them by " in text
    assert "One seed in 1 of 3 rows: the ranks are of these trained models, not of these backbones." in text


def test_a_row_that_might_have_been_guessed_says_what_it_was_trained_on(tables) -> None:
    study = Study(patients=20, slices=2)
    able, guessing = TWELVE[2], replace(TWELVE[5], skill=0.05, pretrained=False)
    _, board, text = tables([study.run(able), study.run(guessing)])
    board = board.set_index("backbone")
    assert pd.isna(board.loc[able.name, "reason"])
    said = board.loc[guessing.name, "reason"]
    p = board.loc[guessing.name, "p_guessing"]
    assert p >= 0.05 > board.loc[able.name, "p_guessing"]
    figures = f"AUROC {board.loc[guessing.name, 'auroc']:.2f}, p {p:.2g}"
    assert said.startswith(f"Not distinguished from guessing ({figures}), ")
    assert said.endswith("after 36 steps (epoch 9 of 10 was kept) on 120 images from random weights.")
    assert board.loc[guessing.name, "status"] == "ok"
    assert "1 of 2 rows is not shown to be better than guessing." in text
    trained = "after 36 steps (epoch 9 of 10 was kept) on 120 images from random weights"
    assert f"1. Not distinguished from guessing, {trained}: {guessing.name} ({figures})." in text


def test_what_a_row_knows_is_told_in_three_wordings(tables) -> None:
    study = Study(patients=60, slices=3)
    able, (record, predictions) = study.run(TWELVE[2]), study.run(replace(TWELVE[0], name="torch/wrong"))
    chances = predictions.probabilities
    wrong = record, replace(predictions, probabilities=((1 - chances) / 3).astype(np.float32))
    record, _ = study.run(replace(TWELVE[0], name="torch/lazy"))
    biased = np.full_like(chances, 0.01)
    biased[:, 2] = 1 - biased[:, [0, 1, 3]].sum(axis=1)
    lazy = record, replace(predictions, probabilities=biased)
    _, board, text = tables([able, wrong, lazy])
    board = board.set_index("backbone")
    assert board.loc["torch/wrong", "reason"].startswith("Worse than chance (AUROC 0.")
    assert board.loc["torch/lazy", "reason"].startswith(
        "Answers one class ('notumor' for every image, AUROC 0.50, p 1)"
    )
    assert pd.isna(board.loc[TWELVE[2].name, "reason"])
    # nothing varies with the patients in what a constant answer scores, and no other row is compared with it
    one = board.loc["torch/lazy"]
    assert one[[f"{name}_low" for name in ("macro_f1", "mcc", "f1_notumor", "auroc", "missed_glioma")]].isna().all()
    assert pd.isna(one["rank"])
    assert "### Which rows differ" not in text
    assert board.loc["torch/wrong", "rank_last"] == board.loc["torch/wrong", "rank"] == 1


def test_namesakes_that_are_not_one_network_are_told_apart(tables) -> None:
    runs = []
    for reader, note in zip(TWELVE[2:7], ("v1.5", "v1", "v1", "with top", "without top"), strict=True):
        record, predictions = Study().run(reader)
        facts = record.backbone.model_copy(update={"note": note})
        runs.append((record.model_copy(update={"backbone": facts}), predictions))
    text = tables([*runs, Study().run(TWELVE[0]), Study().run(TWELVE[1])])[2]
    assert "1. Not the same network: keras/resnet50 and keras_cv/resnet50 are v1; timm/resnet50 is v1.5." in text
    assert "2. Not the same network: keras/vgg16 is without top; timm/vgg16 is with top." in text
    assert "baseline_cnn is" not in text
    table, notes = text.split("### Notes")[0], {"resnet50": "1", "vgg16": "2", "baseline_cnn": ""}
    for name, number in notes.items():  # the rows that a note is about carry its number
        marked = [line.split(" | ")[-1].rstrip(" |") for line in table.splitlines() if f"/{name} |" in line]
        assert marked
        assert set(marked) == {number}


def pairs_told(text: str) -> list[list[str]]:
    """Return the lines of the tables under "Which rows differ", without bold."""
    section = text.split("### Which rows differ")[1].split("###")[0].replace("**", "")
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]


def test_which_rows_differ_is_told_as_in_the_csv(tables, tmp_path: Path) -> None:
    readers = [replace(FIRST, name=f"torch/{skill}", skill=skill) for skill in (3.0, 2.9, 1.0)]
    text = tables(Study(patients=60).run(reader) for reader in readers)[2]
    lines = pairs_told(text)[2:]
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    assert len(lines) == len(pairs) == 3
    for cells, (_, pair) in zip(lines, pairs.iterrows(), strict=True):
        assert cells[:2] == [pair["first"], pair["second"]]
        ends = f"{pair['difference_low']:.3f} to {pair['difference_high']:.3f}"
        assert cells[2] == f"{pair['macro_f1_difference']:.3f} ({ends})"
        shown = [cell.replace("&lt;0.0001", "0") for cell in cells[3:]]
        of_pair = [pair["p"], pair["p_adjusted"], pair["p_mcnemar"]]
        assert [float(cell) for cell in shown] == pytest.approx(of_pair, abs=0.006)
    assert text.count("| **&lt;0.0001** |") == (pairs["p_adjusted"] < 0.0001).sum() == 2


def test_differences_of_many_rows_are_a_table_of_rows_by_rows(tables, tmp_path: Path) -> None:
    readers = [replace(FIRST, name=f"torch/{number}", skill=3.0 - number / 2) for number in range(6)]
    text = tables(SMALL.run(reader) for reader in readers)[2]
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    lines = pairs_told(text)
    assert [line[0] for line in lines].count(readers[0].name) == 5  # with the best row
    start = lines.index(["backbone", "2", "3", "4", "5", "6"]) + 2
    cells = [cell for line in lines[start:] for cell in line[1:] if cell]
    assert sorted(map(float, cells)) == sorted(pairs["macro_f1_difference"].round(2))
    matrix = text.split("| backbone | 2 |")[1].split("###")[0]
    assert matrix.count("**") == 2 * pairs["better"].notna().sum() > 0


def test_the_table_comes_before_the_notes(tables) -> None:
    guessing = [replace(TWELVE[i], skill=0.05, pretrained=False) for i in (4, 5)]
    text = tables(Study(patients=20, slices=2).run(reader) for reader in (FIRST, *guessing))[2]
    table = text.index("| rank |")
    assert len(text[:table].splitlines()) < 32  # the answer and the doubts come first
    for warning in (
        "synthetic",
        "2 of 3 rows are not shown to be better than guessing.",
        "One seed: the ranks are of these",
    ):
        assert text.index(warning) < table
    for note in ("Not distinguished from guessing, after", "are computed from 20 patients", "resamples, Student's t"):
        assert text.rindex(note) > table
    assert text.count("Not distinguished from guessing") == 2  # both rows in one note, and why they stand apart
    assert "<details>\n<summary>Not shown to be better than guessing (2): " in text


def test_a_class_that_test_lacks_has_empty_cells(tables) -> None:
    """Of no images none is lost: "0 (0.0-0.0) of 0" would look like the best of all."""
    record, predictions = Study().run(FOUR[0])
    assert predictions is not None
    lacking = predictions.of((predictions.parts != "test") | (predictions.labels != CLASSES.index("pituitary")))
    runs, board, text = tables([(record, lacking)])
    for frame in (runs, board):
        [row] = frame.to_dict("records")
        for name in ("fn_pituitary", "missed_pituitary", "recall_pituitary", "f1_pituitary"):
            assert pd.isna(row[name]), name
        assert row["support_pituitary"] == 0
        assert not pd.isna(row["fn_glioma"])
    assert pd.isna(board.get("fn_pituitary_low", pd.Series([float("nan")]))[0])
    assert "0 (0.0-0.0)" not in text
    assert "pituitary 0" not in text
