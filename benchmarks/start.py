"""What it costs to begin: the import beside torch's, the demo, and the memory of 2^20 values.

python benchmarks/start.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

IMPORT = """
import torch, time
start = time.perf_counter()
import unmask
print(time.perf_counter() - start)
"""
MEMORY = """
import torch
from torch import nn
from unmask import features, log_odds, masked
from unmask.lattice import MOEBIUS, transform
torch.set_num_threads(1)
torch.manual_seed(0)
layers = [nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)]
score = log_odds(nn.Sequential(*layers).eval(), 1)
x, nothing = torch.randn(20), torch.zeros(20)
game = masked(score, x, features(20), nothing)
game(torch.ones(4096, 20).bool())  # what is loaded on first use does not count
transform(torch.randn(2**13).double(), MOEBIUS)

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # the kernel's peak is counted from here
before = kilobytes("VmRSS")
table = game.table()
values = kilobytes("VmHWM") - before
dividends = transform(table.double(), MOEBIUS)
print(values / 1024 - 4, (kilobytes("VmHWM") - before) / 1024 - 4 - 8)
"""
# glibc keeps freed blocks; given back at once, what is measured is what the calls need.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def printed(program: str, more: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | (more or {}),
    )
    return done.stdout


def main() -> None:
    beside = statistics.median(float(printed(IMPORT)) for _ in range(7))
    print(f"import unmask beside import torch, median of 7: {beside:.2f} s")
    values, dividends = map(float, printed(MEMORY, GIVING_BACK).split())
    print(f"2^20 values of an MLP, peak beside the table of 4 MiB: {values:.0f} MiB")
    print(f"and its dividends, peak beside both tables (12 MiB): {dividends:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "unmask.cli", "demo", "--out", f"{folder}/demo"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"unmask demo: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
