"""What a newcomer has: a shell in some folder, and the samples that they read."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def examples() -> dict[str, str]:
    """Return the plug-ins of the README and the documentation by the name of the backbone that each declares."""
    found = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            name = re.search(r'@backbone\(\s*"([^"]+)"', block)
            if name:
                assert found.setdefault(name[1], block) == block, f"{page.name}: {name[1]} is another elsewhere"
    return found


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
