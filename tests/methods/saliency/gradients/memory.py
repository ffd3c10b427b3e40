"""What methods of gradients need of memory beside their result, in a process of their own."""

import torch

from unmask import logit
from unmask.methods.saliency import (
    blur_integrated_gradients,
    expected_gradients,
    idgi,
    integrated_gradients,
    smoothgrad,
)


def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))


def peak(run, count):
    """MiB, once it has been warmed up."""
    run(8)
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak is counted from here
    before = kilobytes("VmRSS")
    run(count)
    return (kilobytes("VmHWM") - before) / 1024


POSITIONS = 2**16  # an input of 256 KiB
X = torch.linspace(-1, 1, 4 * POSITIONS).view(4, 1, 256, 256)
ZERO = torch.zeros(1, 256, 256)
SCORE = logit(lambda x: (x**2).abs().flatten(1).sum(1) + torch.relu(x.flatten(1)).sum(1), 0)
RUNS = {
    "fixed": lambda n: integrated_gradients(SCORE, X, baseline=ZERO, steps=n),
    "precise": lambda n: integrated_gradients(
        SCORE, X[:1], baseline=ZERO[:, :1, :1] - 0.7, error=1e-12, steps=4 * n + 1
    ),
    "smoothgrad": lambda n: smoothgrad(SCORE, X, samples=n),
    "expected": lambda n: expected_gradients(SCORE, X, baseline=ZERO, samples=n, noise=0.1),
    "idgi": lambda n: idgi(SCORE, X, baseline=ZERO, steps=n),
    "blur": lambda n: blur_integrated_gradients(SCORE, X[:1], steps=n, radius=2.0),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, run in RUNS.items():
        print(name, peak(run, 16), peak(run, 64))
