"""What it costs to begin: the import beside torch's, the demo, and the memory of 2^20 values.

python benchmarks/start.py
"""

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
import resource, torch
from torch import nn
from unmask import features, log_odds, masked
from unmask.lattice import MOEBIUS, transform
torch.manual_seed(0)
layers = [nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)]
score = log_odds(nn.Sequential(*layers).eval(), 1)
x, nothing = torch.randn(20), torch.zeros(20)
masked(score, x[:10].repeat(2), features(20), nothing)(torch.ones(2048, 20).bool())  # warm
transform(torch.randn(2**10).double(), MOEBIUS)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
table = masked(score, x, features(20), nothing).table()
values = peak()
dividends = transform(table.double(), MOEBIUS)
after = peak()
print((values - before) / 1024 - 4, (after - before) / 1024 - 4 - 8)
"""


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.stdout


def main() -> None:
    beside = statistics.median(float(printed(IMPORT)) for _ in range(7))
    print(f"import unmask beside import torch, median of 7: {beside:.2f} s")
    values, dividends = map(float, printed(MEMORY).split())
    print(f"2^20 values of an MLP, peak beside the table of 4 MiB: {values:.0f} MiB")
    print(f"and its dividends, peak beside both tables (12 MiB): {dividends:.0f} MiB")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "unmask.cli", "demo", "--out", f"{folder}/demo"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"unmask demo: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
