"""Rationales: the few words by which a text is classified."""

import copy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.internals import plain
from unmask.methods.saliency.descent import descend, seeded
from unmask.methods.saliency.information.selections import Reinforce, Selection, omega
from unmask.results import Surrogate

Labels = Int[Tensor, " labels"] | Float[Tensor, " labels"]
"""Classes, or numbers to be predicted."""

_WIDTH = 32
"""Units of the networks that are made where none are given."""

_BOUND = 3.0
"""The largest logit of a choice. Beyond it a choice would be as good as made, without a slope by
which to think again."""


@method("lei2016rationalizing", "bastings2019interpretable")
def rationale(
    data: Float[Tensor, "batch tokens width"],
    *,
    labels: Labels,
    steps: int,
    mask: Bool[Tensor, "inputs words"] | None = None,
    selector: nn.Module | None = None,
    reader: nn.Module | None = None,
    selection: Selection | None = None,
    length: float = 0.01,
    breaks: float | None = None,
    samples: int = 4,
    minibatch: int | None = None,
    rate: float = 0.01,
    generator: torch.Generator | None = None,
) -> Surrogate:
    r"""Train a network that first selects a few words, and then answers from them alone.

    $$
    \min_{\theta}\; \mathbb{E}_{z \sim p_\theta(z \mid x)} \Bigl[ \mathcal{L}(\mathrm{enc}(z, x), y)
    + \lambda_1 \sum_t z_t + \lambda_2 \sum_t |z_t - z_{t-1}| \Bigr]
    $$

    The selected words are the whole of what the answer is made of, so they are no guess at a
    reason. They need not be what a person would give as one: selector and reader learn together,
    and may agree on a code by which the choice itself tells the class. Compare the rationales
    with what you know, and the answers with those of a network that reads everything.

    Choices are independent given the text; the published variant in which each depends on the
    ones before it is left out. The cost of the selection enters by its exact expectation, only the
    loss by samples. In the first quarter of the steps the reader learns from words at random, or
    the selector would be taught by one that knows nothing; the price of breaks, by which no word
    and every word are both good, comes in over the second half.

    `model` of the result is a `Rationale`: `explain` gives the words, the call the answer from
    them. `fidelity` is the share of the labels that it answers (the R2 of numbers); `text` tells
    how much it selects. Near 0 or 100 % it has collapsed: then change `length`, for which the
    three ways to learn choices want different values.

    Args:
        data: x, embeddings of words.
        labels: y, classes; or numbers, predicted with squared error.
        steps: of Adam.
        mask: True where there is a word; without one, everywhere.
        selector: from embeddings to a logit per word; by default a bidirectional GRU.
        reader: from selected embeddings, zero elsewhere, and the selection to a row of logits (or
            one number); by default a convolution over three words and their maximum.
        selection: how choices are learned: `Reinforce()` as published, `StraightThrough()` or
            `HardKuma()`.
        length: lambda_1; for reviews of some hundred words 3e-4 was published.
        breaks: lambda_2, twice lambda_1 by default.
        samples: selections per text and step.
        minibatch: texts per step, by default all.
        rate: of Adam.
        generator: source of the first weights, the order of the texts and the selections.

    >>> words = torch.randint(10, (128, 6), generator=torch.Generator().manual_seed(0))
    >>> praised = (words == 7).any(1).long()
    >>> x = torch.eye(10)[words]
    >>> found = rationale(x, labels=praised, steps=150, length=0.1, breaks=0.0)
    >>> found.fidelity
    1.0
    >>> chosen = words[found.model.explain(x)]
    >>> int(chosen.mode().values)
    7
    """
    there = _check(data, labels, mask, samples)
    if steps < 1:
        raise ValueError(f"A training of {steps} steps leads nowhere. Give at least 1.")
    generator = admission.drawing(generator)
    with torch.inference_mode(False):
        x, labels, there = (plain(one).to(data.device) for one in (data, labels, there))
        outputs = 1 if labels.is_floating_point() else int(labels.max()) + 1
        with seeded(generator, data.device):
            selector = copy.deepcopy(selector) or WordSelector(data.shape[2]).to(data)
            reader = copy.deepcopy(reader) or SelectedReader(data.shape[2], max(2, outputs)).to(
                data
            )
            network = Rationale(
                selector, reader, selection=selection, length=length, breaks=breaks
            ).train()
        progress = iter(torch.linspace(0, 1, steps).tolist())
        descend(
            network,
            lambda rows: network.cost(
                x[rows], labels[rows], mask=there[rows], samples=samples, generator=generator,
                progress=next(progress),
            ),
            inputs=len(x), steps=steps, minibatch=minibatch, rate=rate, generator=generator,
        )  # fmt: skip
    network.eval()
    parts = torch.arange(len(x), device=x.device).split(minibatch or len(x))
    with torch.no_grad():
        z = torch.cat([network.explain(x[rows], there[rows]) for rows in parts])
        answers = torch.cat([network(x[rows], there[rows]) for rows in parts])
    return Surrogate(network, _right(answers, labels), _told(z, there))


class Rationale(nn.Module):
    """A network that selects words and answers from them.

    Args:
        selector: the published generator: a logit per word.
        reader: the published encoder: from selected embeddings, zero elsewhere, and the selection
            to the answer.
        selection: how choices are learned.
        length: what a selected word costs.
        breaks: what a change between selected and not costs, twice that by default.
    """

    baseline: Tensor

    def __init__(
        self,
        selector: nn.Module,
        reader: nn.Module,
        *,
        selection: Selection | None = None,
        length: float = 0.01,
        breaks: float | None = None,
    ) -> None:
        super().__init__()
        breaks = 2 * length if breaks is None else breaks
        if length < 0 or breaks < 0:
            raise ValueError(
                f"A length that costs {length} and breaks that cost {breaks} would reward what "
                "they should punish. Give numbers of at least 0."
            )
        self.selector, self.reader = selector, reader
        self.selection = selection or Reinforce()
        self.length, self.breaks = length, breaks
        self.register_buffer("baseline", torch.full((), torch.nan))

    def logits(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens"]:
        """How much each word wants to be selected."""
        found = self.selector(x)
        found = found[..., 0] if found.ndim == 3 and found.shape[2] == 1 else found
        if found.shape != x.shape[:2]:
            raise ValueError(
                f"The selector returned shape {tuple(found.shape)} for texts of shape "
                f"{tuple(x.shape)}. Return one logit per word."
            )
        return _BOUND * torch.tanh(found / _BOUND)

    def explain(
        self,
        x: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Bool[Tensor, "batch tokens"]:
        """The words by which each text is answered: those more likely selected than not."""
        chosen = self.logits(x) > 0
        return chosen if mask is None else chosen & mask

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "batch *classes"]:
        z = self.explain(x, mask).to(x)
        return self.reader(x * z[..., None], z)

    def cost(
        self,
        x: Float[Tensor, "batch tokens width"],
        labels: Labels,
        *,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Float[Tensor, ""]:
        """What one step of training makes smaller, for an optimiser of one's own.

        Where choices have no gradient, the value is not the cost itself but has its gradient.

        Args:
            x: embeddings.
            labels: of the texts.
            mask: True where there is a word.
            samples: selections per text; reader and selector see all in one call.
            generator: source of the selections.
            progress: the share of the training that is done. Up to a quarter only the reader
                learns, and from half on the price of breaks grows to what it is.
        """
        generator = admission.drawing(generator)
        there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        logits = self.logits(x) if progress >= 0.25 else self.logits(x).detach()
        breaks = self.breaks * min(1.0, max(0.0, 2 * progress - 1))
        price = omega(self.selection.share(logits), there, self.length, breaks)
        many, words = logits.repeat(samples, 1), there.repeat(samples, 1)
        uniform = torch.rand(many.shape, generator=generator, device=generator.device)
        z = torch.where(words, self.selection.draw(many, uniform.to(many)), 0.0)
        answers = self.reader(x.repeat(samples, 1, 1) * z[..., None], z)
        error = _errors(answers, labels.repeat(samples))
        total = error.mean() + price.mean()
        credit = self.selection.credit(many, z)
        if credit is not None:
            mean = error.detach().mean()
            expected = torch.where(self.baseline.isnan(), mean, self.baseline)
            likely = torch.where(words, credit, 0.0).sum(1)
            surprise = ((error.detach() - expected) * likely).mean()
            total = total + surprise - surprise.detach()
            self.baseline.copy_(0.9 * expected + 0.1 * mean)
        return total


class WordSelector(nn.Module):
    """A logit per word, from all words before and after it.

    Args:
        width: numbers of an embedding.
        hidden: units in each direction.
    """

    def __init__(self, width: int, hidden: int = _WIDTH) -> None:
        super().__init__()
        self.rnn = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1)
        nn.init.constant_(self.head.bias, -1.0)  # few words at first: from all it is far to a few

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens"]:
        return self.head(self.rnn(x)[0])[..., 0]


class SelectedReader(nn.Module):
    """An answer from the selected words: each with its selected neighbours, then the maximum.

    Args:
        width: numbers of an embedding.
        outputs: classes, or 1.
        hidden: units.
    """

    def __init__(self, width: int, outputs: int, hidden: int = _WIDTH) -> None:
        super().__init__()
        self.phrase = nn.Conv1d(width, hidden, 3, padding=1)
        self.head = nn.Linear(hidden, outputs)

    def forward(
        self, selected: Float[Tensor, "batch tokens width"], z: Float[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch outputs"]:
        phrases = torch.relu(self.phrase(selected.transpose(1, 2)))
        return self.head((phrases * z[:, None]).amax(2))


def _errors(answers: Tensor, labels: Tensor) -> Float[Tensor, " rows"]:
    answers = answers.to(torch.promote_types(answers.dtype, torch.float32))
    if not labels.is_floating_point():
        if answers.ndim != 2 or int(labels.max()) >= answers.shape[1] or int(labels.min()) < 0:
            raise ValueError(
                f"Classes run from {int(labels.min())} to {int(labels.max())}, but the reader "
                f"returned shape {tuple(answers.shape)}. Return a logit for each class."
            )
        return functional.cross_entropy(answers, labels.long(), reduction="none")
    if answers.shape not in (labels.shape, (len(labels), 1)):
        raise ValueError(
            f"Labels of {labels.dtype} are numbers to predict, but the reader returned shape "
            f"{tuple(answers.shape)}. Return one number per text, or give classes as whole numbers."
        )
    return (answers.reshape(labels.shape) - labels.to(answers)).square()


def _right(answers: Tensor, labels: Tensor) -> float:
    """The share of the labels that were answered, or the R2 of numbers."""
    if not labels.is_floating_point():
        return float((answers.argmax(1) == labels).double().mean())
    wanted = labels.double()
    left = (answers.reshape(labels.shape).double() - wanted).square().sum()
    spread = (wanted - wanted.mean()).square().sum()
    return float(1 - left / spread) if spread > 0 else float(left == 0)


def _told(z: Bool[Tensor, "batch tokens"], there: Bool[Tensor, "batch tokens"]) -> str:
    begins = int(z[:, :1].sum() + (z[:, 1:] & ~z[:, :-1]).sum())
    words, chosen = int(there.sum()), int(z.sum())
    runs = f", in runs of {chosen / begins:.1f}" if begins else ""
    return f"selects {100 * chosen / words:.1f} % of the words{runs}"


def _check(
    x: Tensor, labels: Tensor, mask: Tensor | None, samples: int
) -> Bool[Tensor, "batch tokens"]:
    admission.differentiable(x)
    if labels.shape != (len(x),):
        raise ValueError(
            f"There are {len(x)} texts, but labels have shape {tuple(labels.shape)}. "
            "Give one label per text."
        )
    if labels.is_floating_point():
        admission.finite("The labels", labels)
    there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    if there.shape != x.shape[:2]:
        raise ValueError(
            f"The mask has shape {tuple(there.shape)}, the words {tuple(x.shape[:2])}. "
            "Give True or False for every word."
        )
    if not there.any(1).all():
        raise ValueError(
            f"Text {int((~there.any(1)).nonzero()[0, 0])} has no word: it is all padding. "
            "Leave it out, or look at the mask."
        )
    if samples < 1:
        raise ValueError(f"{samples} selections per text teach nothing. Give at least 1.")
    return there
