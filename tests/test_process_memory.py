"""Freed memory stays with the process while a run goes on, and goes back when it is over."""

import platform
import subprocess
import sys

import pytest

ARRAYS = """
import numpy as np, psutil
from benchmark.process_memory import give_memory_back, hold_memory

def resident():
    return psutil.Process().memory_info().rss // 2**20

hold_memory()
before = resident()
arrays = [np.ones(2**25, dtype=np.uint8) for _ in range(8)]
largest = resident()
del arrays
freed = resident()
give_memory_back()
print(largest - before, freed - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's memory can be held")
def test_memory_is_held_until_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", ARRAYS], capture_output=True, text=True, check=True)
    largest, freed, given_back = (int(word) for word in done.stdout.split())
    assert largest > 250
    assert freed > 250
    assert given_back < 20
