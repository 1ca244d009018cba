"""What a newcomer has: a shell in some folder, and what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def examples() -> dict[str, str]:
    """Return the README's plug-ins by the name of the backbone that each declares."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found = [(re.search(r'@backbone\(\s*"([^"]+)"', block), block) for block in blocks]
    return {match[1]: block for match, block in found if match}


def shell(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Do ``python -m WORDS`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
