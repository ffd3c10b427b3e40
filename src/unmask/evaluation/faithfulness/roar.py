"""ROAR: remove and retrain. Accuracy when what is said to matter is gone from all the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.bootstrap import Bounds, bootstrap, means
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.faithfulness.pixel_flipping import places, portions
from unmask.evaluation.retrained import Train, answered_right, retrained
from unmask.evaluation.trial import on_trial
from unmask.players import Players
from unmask.results import Measurement
from unmask.score import log_odds, predicted

_BOUNDS: Bounds = dict.fromkeys(("accuracy", "random", "mask_leakage", "untouched"), (0.0, 1.0))


@method("hooker2019benchmark", "rong2022consistent")
@torch.inference_mode(False)
def roar(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    explain: Explain,
    train: Train,
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    repeats: int = 1,
    ascending: bool = False,
    absolute: bool = True,
    players: Players | None = None,
    held_out: float = 0.25,
    test: Float[Tensor, "tests ..."] | None = None,
    test_labels: Int[Tensor, " answers"] | None = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Replace the most relevant parts of every input, train anew, and see what can still be told.

    $$
    \mathrm{accuracy}(t) = \frac1{|D|} \sum_{(x, y) \in D}
        [\arg\max_c z_c^{(t)}(x_{\setminus t}) = y]
    $$

    D are inputs that no training sees. The explanations are those of a first network, of the
    log-odds of the class that it chooses, on the inputs of training and of test alike. From each
    the share t of its players is taken, replaced by the mean of the training data (of images: of
    each channel), and z^(t) is trained on what is left. Beside it stands the same with players
    taken at random: an explanation that finds what matters lets the accuracy fall further than
    that. `below_random` is by how much, on average over the shares. With the least relevant taken
    (keep and retrain) it should stay above, and `below_random` be negative.

    Two things to know before the number is believed. Retraining tells whether other parts hold the
    same evidence, so it rates the data as well as the explanation. And which parts are gone can
    itself tell the class: `mask_leakage` is the accuracy of a network trained on nothing but the
    mask (1 where something is left). Where it is above `chance`, the share of the most frequent
    class, a high accuracy says little. Signed values leak more than their sizes do.

    All trainings of one repeat draw from the same seed. Bands and intervals come from the test
    inputs by the bootstrap, after a mean over the repeats; they know nothing of other trainings or
    of another random order. The papers repeat five times. In all there are (1 + 3 shares) repeats
    trainings, and only the first network of all is explained.

    >>> from unmask.results import Attribution
    >>> def train(x, y, generator):  # a class's mean is its row of weights
    ...     rows = torch.stack([x[y == c].mean(0) for c in range(2)])
    ...     network = torch.nn.Linear(4, 2)
    ...     network.weight.data, network.bias.data = rows, -(rows**2).sum(1) / 2
    ...     return network
    >>> y = torch.arange(400) % 2
    >>> x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    >>> x[:, 0] += 6.0 * y
    >>> found = roar(x, y, explain=lambda score, x: Attribution(torch.tensor([1.0, 0, 0, 0])
    ...     .expand_as(x)), train=train, shares=(0.25,))
    >>> found.numbers["untouched"] > 0.95, found.curves["accuracy"][0] < 0.65
    (True, tensor(True))

    Args:
        data: the inputs, at once those of the first network and of all others.
        labels: their classes, from 0.
        explain: makes the explanations.
        train: makes the networks.
        shares: t.
        repeats: how often each network is trained.
        ascending: whether the least relevant players are taken.
        absolute: whether players rank by the size of what is said of them, whatever its sign.
        players: what is taken as one; without them, every position of an input.
        held_out: the share of the data, at random, that serves as D where there is no test.
        test: D.
        test_labels: the classes of D.
        batch_size: inputs that are explained, and told the class of, at a time.
        generator: source of all chance.
    """
    generator = admission.drawing(generator)
    _refuse(data, labels, repeats)
    admission.batched(batch_size)
    both = _split(data, labels, held_out, test, test_labels, generator)
    players = players or _positions(data.shape[1:])
    counts = portions(len(players.names), shares)
    distinct, where = counts.unique(return_inverse=True)  # of few players shares can be the same
    mean = both.learnt.mean((0, 2, 3) if data.ndim == 4 else 0, keepdim=True)[0]
    seeds = torch.randint(2**31, (repeats,), generator=generator, device=generator.device).tolist()
    random = [
        places(torch.rand(shape, generator=generator, device=generator.device).to(data.device))
        for shape in ((len(x), len(players.names)) for x in (both.learnt, both.asked))
    ]

    def right(change: Callable[[int], Tensor], seed: int) -> Tensor:
        """Which of the test inputs a network of its own gets right, when all data are changed."""
        network = retrained(train, change(0), both.told, seed)
        return answered_right(network, change(1), both.answers, batch_size).double()

    inputs = (both.learnt, both.asked)
    first = retrained(train, both.learnt, both.told, seeds[0])
    ordered = [
        _order(first, x, explain, players, mean, ascending, absolute, batch_size) for x in inputs
    ]
    untouched = [answered_right(first, both.asked, both.answers, batch_size).double()]
    untouched += [right(lambda part: inputs[part], seed) for seed in seeds[1:]]
    found: dict[str, list[Tensor]] = {"accuracy": [], "random": [], "mask_leakage": []}
    for count in distinct.tolist():
        seen = [players.cover(place >= count) for place in ordered]
        other = [players.cover(place >= count) for place in random]
        changes = {
            "accuracy": lambda part, seen=seen: torch.where(seen[part], inputs[part], mean),
            "random": lambda part, other=other: torch.where(other[part], inputs[part], mean),
            "mask_leakage": lambda part, seen=seen: seen[part].to(data.dtype),
        }
        for name, change in changes.items():
            found[name].append(torch.stack([right(change, seed) for seed in seeds]).mean(0))
    by_input = {name: torch.stack(rows, 1)[:, where] for name, rows in found.items()}
    share = counts.double() / len(players.names)
    return _measured(torch.stack(untouched).mean(0), by_input, share, both.answers, repeats)


@dataclass(frozen=True)
class _Split:
    """What is learnt from and what is asked, each with its classes."""

    learnt: Tensor
    told: Tensor
    asked: Tensor
    answers: Tensor


def _refuse(data: Tensor, labels: Tensor, repeats: int) -> None:
    admission.finite("The data", data)
    admission.filled(data)
    if labels.shape != data.shape[:1]:
        raise ValueError(
            f"There are {len(data)} inputs, but labels of shape {tuple(labels.shape)}. "
            "Give one class per input."
        )
    if repeats < 1:
        raise ValueError(f"{repeats} repeats train nothing. Give 1 at least.")


def _split(
    data: Tensor,
    labels: Tensor,
    held_out: float,
    test: Tensor | None,
    test_labels: Tensor | None,
    generator: torch.Generator,
) -> _Split:
    """Copies all of it: what was made in inference mode cannot be learnt from."""
    if (test is None) != (test_labels is None):
        raise ValueError(
            f"A test is inputs and their classes, but got {'labels' if test is None else 'inputs'} "
            "alone. Give test and test_labels, or neither."
        )
    if test is not None and test_labels is not None:
        admission.finite("The test", test)
        if test.shape[1:] != data.shape[1:] or test_labels.shape != test.shape[:1] or not len(test):
            raise ValueError(
                f"The test has shape {tuple(test.shape)} and labels of {tuple(test_labels.shape)}, "
                f"the data {tuple(data.shape)}. Give inputs of the same shape, a class for each."
            )
        return _Split(data.clone(), labels.clone(), test.clone(), test_labels.clone())
    count = round(held_out * len(data))
    if not 1 <= count < len(data):
        raise ValueError(
            f"Of {len(data)} inputs the share {held_out} makes {count} to test on. "
            "Hold out one at least, and leave one at least to learn from."
        )
    order = torch.randperm(len(data), generator=generator, device=generator.device).to(data.device)
    asked, learnt = order[:count], order[count:]
    return _Split(data[learnt], labels[learnt], data[asked], labels[asked])


def _positions(shape: torch.Size) -> Players:
    owner = torch.arange(shape.numel()).view(shape)
    return Players(owner, tuple(str(i + 1) for i in range(shape.numel())))


def _order(
    network: nn.Module,
    x: Tensor,
    explain: Explain,
    players: Players,
    mean: Tensor,
    ascending: bool,
    absolute: bool,
    batch_size: int | None,
) -> Int[Tensor, "batch players"]:
    """When each player of each input is taken, as the explanation of its chosen class has it."""
    chosen = [predicted(network, some) for some in x.split(batch_size or len(x))]
    score = log_odds(network, torch.cat([torch.as_tensor(classes) for classes in chosen]))
    said = explained(score, x, explain, batch_size=batch_size)
    values = on_trial(score, x, players, mean).of(said)
    return places(values.abs() if absolute else values, ascending)


def _measured(
    untouched: Float[Tensor, " tests"],
    by_input: dict[str, Tensor],
    share: Float[Tensor, " shares"],
    answers: Int[Tensor, " tests"],
    repeats: int,
) -> Measurement:
    below = (by_input["random"] - by_input["accuracy"]).mean(1)
    each = {name: value.cpu() for name, value in by_input.items()}
    each |= {"untouched": untouched.cpu(), "below_random": below.cpu()}
    found = bootstrap(
        lambda weights: {name: means(weights, values) for name, values in each.items()},
        len(untouched),
        bounds=_BOUNDS,
    )
    # Of a single test input nothing is known of others, and there are no intervals.
    known = {name: value for name, value in found.items() if not value.isnan().any()}
    frequent = answers.unique(return_counts=True)[1].max()
    numbers = {name: float(value) for name, value in known.items() if value.ndim == 0}
    curves = {name: value.to(answers.device) for name, value in known.items() if value.ndim == 1}
    return Measurement(
        numbers
        | {
            "chance": float(frequent) / len(answers),
            "test_inputs": float(len(answers)),
            "repeats": float(repeats),
        },
        {"share": share.to(answers.device)} | curves,
        {"Accuracy by the share that is taken": ("share", "accuracy", "random", "mask_leakage")},
    )
