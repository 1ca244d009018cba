"""Where this program keeps what it has made and may need again. Adapters and the harness share the folder."""

import os
from pathlib import Path

from platformdirs import user_cache_path

CACHE_VARIABLE = "TUMORBOARD_CACHE"  # the environment variable that names the folder


def cache_root() -> Path:
    """Return the folder of all caches: ``$TUMORBOARD_CACHE``, else the system's place for them.

    Raises:
        RuntimeError: the system has no place for them: neither ``HOME`` nor an entry for this user.
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("tumorboard")
