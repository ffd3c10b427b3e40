"""What some calls need of memory beside their result, measured in a process of their own."""

import torch

from unmask import Game, Interactions, Players, Score, features, log_odds, masked
from unmask.lattice import coalitions
from unmask.methods.saliency import kernel_shap, permutation_shapley


def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))


def peak(run):
    """What a call needs beside its result, in MiB, once it has been warmed up."""
    run(11)
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak is counted from here
    before = kilobytes("VmRSS")
    result = run(None)
    return (kilobytes("VmHWM") - before) / 1024 - result.nbytes / 2**20


def table(n):
    network = torch.nn.Sequential(
        torch.nn.Linear(n or 20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)
    )
    x = torch.zeros(n or 20)
    return masked(log_odds(network.eval(), 0), x, features(len(x)), x).table()


def many_backgrounds(n):
    x = torch.ones(2**14)
    whole = Players(torch.zeros(2**14, dtype=torch.long), ("all",))
    score = Score(lambda x: x, lambda output, rows: output[:, 0])
    game = masked(score, x, whole, torch.zeros(n or 2**12, 1))  # 2^26 numbers, if made at once
    return game(torch.zeros(1, 1, dtype=torch.bool))


def many_terms(n):
    n = n or 13
    members = coalitions(n)
    terms = Interactions(
        members, torch.zeros(2**n).bool(), torch.ones(2**n).double(), 0.0, ("",) * n
    )
    return terms(members)  # 2^26 pairs


def sampled(method):
    def run(n):
        weight = torch.ones(24, dtype=torch.float64)
        game = Game(lambda own: own.double() @ weight, features(24).names)
        return method(game, samples=2 ** (n or 18)).values  # all in float64 are 48 MiB

    run.__name__ = method.__name__
    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = (table, many_backgrounds, many_terms, sampled(kernel_shap), sampled(permutation_shapley))
    for run in runs:
        print(run.__name__, peak(run))
