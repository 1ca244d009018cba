"""Command-line options about data, alike for every command that has them.

A command gets ``split``, ``folds``, ``dedupe``, ``groups``, ``groups_from``, ``test_data``, ``test_classes`` and
``permute_labels``; :func:`benchmark.data.options.take_options` turns them into records.
"""

import click

from benchmark.cli.shared_options import choice_option, together

data_options = together(
    choice_option(
        "--split",
        ["auto", "official", "holdout", "folds", "regroup", "slice"],
        "auto",
        "auto: the official split, or a hold-out by patient where there is none. regroup: an official split cut "
        "anew, near-duplicates kept together (with --folds: into folds). slice: slices of a patient can be in "
        "training and in test; its rows are marked.",
    ),
    click.option(
        "--folds",
        metavar="all|K,...",
        help="Run each fold, or some: the official ones where they keep patients apart, else five by patient.",
    ),
    click.option(
        "--dedupe",
        is_flag=True,
        help="Leave out training images that are also in test (copies and near-copies); rows are marked.",
    ),
    choice_option(
        "--groups",
        ["auto", "pid", "merged"],
        "auto",
        "What one patient is. pid: each id of the data; merged: ids that differ only in a letter at the end; "
        "auto: merged where the data is known to give one person several such ids.",
    ),
    click.option(
        "--groups-from",
        metavar="REGEX",
        help="Patients from the images' paths: what the expression's groups match.",
    ),
    click.option("--test-data", metavar="SOURCE", help="Test on all images of another source."),
    click.option(
        "--test-class",
        "test_classes",
        multiple=True,
        metavar="THEIRS=OURS",
        help="A class that the test data names differently.",
    ),
    click.option(
        "--permute-labels",
        type=int,
        metavar="SEED",
        help="Negative control: shuffle the labels among patients; every backbone should then be at chance.",
    ),
)
