"""What lies where in a results folder, and the README.txt that says so to whoever opens one.

What a user came for stands at the top, beside what it is made from. What commands need for themselves is below
``internal/``, which nobody has to look into.
"""

from pathlib import Path

from benchmark.atomic_files import inside, write_atomically
from benchmark.foreign_files import Refused, is_own_folder, read_foreign

# Folders, as the names that lead to them from the results folder.
Place = tuple[str, ...]
RECORDS: Place = ("records",)
SPLITS: Place = ("splits",)
SUITES: Place = ("suites",)
THUMBNAILS: Place = ("thumbnails",)
INTERNAL: Place = ("internal",)
CLAIMS: Place = (*INTERNAL, "claims")
FAILED: Place = (*INTERNAL, "failed")
LOGS: Place = (*INTERNAL, "logs")
PROGRESS: Place = (*INTERNAL, "progress")
WORK: Place = (*INTERNAL, "work")
# Earlier versions had these at the top, under the same names.
MOVED = (CLAIMS, FAILED, LOGS, WORK)

_NAME_LENGTH = 20  # hex digits of a run's key in a folder's name: 80 bits

GUIDE = "README.txt"
VIEW: Place = ("view",)  # where a part of the board is written, so that the whole stays
VIEW_MARK = "view.txt"  # says in a folder of tables that they are a part, and of what
# How the names of pictures and pages begin that show test images, or name them.
_WITH_IMAGES = ("gallery", "plot_cams", "plot_montage")
_TITLE = "TumorBoard: what lies in this folder"
_MAX_BYTES = 2**16  # of a README.txt that is read
_TEXT = f"""{_TITLE}
{"=" * len(_TITLE)}

To look at:
  leaderboard.html   the board: open it in a browser; it needs no network
  images/            with "leaderboard --page-images beside": the test images that the page shows
  leaderboard.md     the same tables as text; leaderboard.tex has them for a paper
  leaderboard.csv    a line for each row of the board; columns.csv explains its columns
  runs.csv           a line for each run, those that failed included
  comparisons.csv    each pair of rows: difference, interval, p-values
  strata.csv         recall and missed tumours by lesion area, plane, scanner, source, as far as they are known
  cross_matrix.csv   with --cross: each data set that trained by each that tested
  report.md          a reporting checklist (CLAIM), filled in as far as records tell
  gallery.md         every tumour that was missed, with its image
  corruptions.csv    macro-F1 and errors on spoilt images by corruption and severity, where they were asked about
  budget.csv         what tuning was worth: the expected best validation score by trials
  plot_*             the figures
  A suite's report and its tables bear the name of the suite.
  view/              what the last "leaderboard --filter" (--sort, --columns) asked for, where there was one

What these are made from, to be kept and copied together:
  records/           a folder for each run: what was done, and a probability for each image and class.
                     It is named by the first 20 digits of the run's key (the column "key" in runs.csv), a hash of
                     all that decides the result. SHA256SUMS has the hashes of its files: what was changed by hand
                     is noticed and left out.
  splits/            which image was for training, validation and test, as CSV, and as NumPy's file for the program
  models/            the trained networks that were kept (--keep-models), each with a card
  suites/            which runs belong to a suite
  thumbnails/        small copies of the test images, for the page and the gallery
  image_facts/       what is known of test images: plane, scanner, source, slice thickness, lesion area
  tensorboard/, wandb/   what "--track" wrote for these programs, if it was asked for
  parity/, audit/    what "python -m benchmark parity" and "python -m benchmark data SOURCE --audit" wrote, if any

What the program needs for itself:
  internal/          work/ (checkpoints of runs that are not done), logs/ (what each run printed), claims/ (which
                     command does which run), progress/ (how far each is), failed/ (failures of runs that have an
                     earlier result).
                     When no command is running it may be deleted: runs that are not done then begin anew.

Everything under "To look at" can be made anew from the rest:
  python -m benchmark leaderboard THIS_FOLDER

Research software, not for clinical use.
"""


def short(key: str) -> str:
    """Return the part of a run's key that names its folders and files."""
    return key[:_NAME_LENGTH]


def shows_images(name: str) -> bool:
    """Return whether a picture or page of a results folder, by its file's name, shows test images."""
    return name.startswith(_WITH_IMAGES)


def has_old_layout(out: Path) -> bool:
    """Return whether a folder was made by a version that had no ``internal/``, and none has worked in it since."""
    return is_own_folder(out.joinpath(*RECORDS)) and not out.joinpath(*INTERNAL).exists()


def write_guide(out: Path) -> None:
    """Write ``README.txt`` into a results folder; one that is not ours stays as it is.

    Raises:
        OSError: it can't be written.
    """
    try:
        kept = read_foreign(out, GUIDE, limit=_MAX_BYTES)
    except FileNotFoundError:
        kept = _TITLE.encode()
    except Refused:
        return
    if kept.startswith(_TITLE.encode()) and kept != _TEXT.encode():
        write_atomically(inside(out, GUIDE), _TEXT)
