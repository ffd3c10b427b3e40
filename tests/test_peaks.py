import os
import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED = 64
"""MiB beside the table and the model."""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak")
def test_the_peak_of_memory_is_that_of_a_batch():
    script = Path(__file__).with_name("peaks.py")
    # glibc keeps freed blocks in holes that the next one may not fit; given back at once, what is
    # measured is what the calls need, not how the allocator fared.
    giving_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | giving_back,
    )
    peaks = {name: float(peak) for name, peak in map(str.split, done.stdout.splitlines())}
    sampled = {"kernel_shap", "permutation_shapley"}
    assert set(peaks) == {"table", "many_backgrounds", "many_terms"} | sampled
    for name, peak in peaks.items():
        assert peak < ALLOWED, name
