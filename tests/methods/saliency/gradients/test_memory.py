import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak")
def test_the_peak_does_not_grow_with_steps_or_samples():
    script = Path(__file__).with_name("memory.py")
    # As in test_peaks: freed blocks are given back at once, so that the needs are measured.
    giving_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | giving_back,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    peaks = {name: (float(few), float(many)) for name, few, many in lines}
    assert set(peaks) == {"fixed", "precise", "smoothgrad", "expected", "idgi", "blur"}
    for name, (few, many) in peaks.items():
        assert many < few + 5, name  # 48 gradients more would be 12 MiB at least
