"""Do explanations tell networks that use a shortcut from networks that do not?"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask import admission
from unmask.bootstrap import bootstrap
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.retrained import Train, admit_training, over_repeats
from unmask.evaluation.uses.misled import Misled, learned_shortcut, mislead, shares_on_mark
from unmask.results import Measurement


@method("adebayo2022post")
def spot_shortcuts(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    explain: Explain,
    train: Train,
    annotation: Bool[Tensor, "*annotated"],
    repeats: int = 3,
    purity: float = 1.0,
    samples: int = 64,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Plant a shortcut, and see whether explanations point at the networks that learned it.

    $$
    \mathrm{AUROC} = P\Bigl(s(M_1) > s(M_0)\Bigr) + \tfrac12 P\Bigl(s(M_1) = s(M_0)\Bigr),
    \qquad s = \frac{m_R}{m_R + m_{\setminus R}}
    $$

    A patch R of one shade is put on every input. M_1 learns from patches whose shade tells the
    class, M_0 from patches of random shades. Both are explained on inputs that neither has seen,
    with random shades, for the class that each chooses; m is the mean of |a| in R and elsewhere,
    each input's |a| taken as shares of its sum. `detection` is the AUROC over all pairs of
    networks: 1 is perfect, 0.5 is chance, and exactly 0.5 is what an explanation gets that does not
    look at the network. Its interval comes from networks drawn anew, and says little of three.

    R is given here: this asks whether an explanation shows a shortcut to who knows where to look,
    not whether anybody would look there. `accuracy_with_mark` less `accuracy` is what the shortcut
    is worth to M_1; where that is nothing, there was nothing to detect.

    >>> from unmask.planted import linear_network
    >>> def train(x, y, generator):  # a regression of the classes on the inputs
    ...     wide = torch.cat([x, torch.ones(len(x), 1)], 1)
    ...     return linear_network(torch.linalg.lstsq(wide, 2.0 * y - 1).solution[:-1])
    >>> from unmask.results import Attribution
    >>> def explain(score, x):
    ...     return Attribution(x * score.model[0].weight[0])
    >>> x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 1] + 0.1 * x[:, 3] > 0).long()
    >>> patch = torch.tensor([True, False, False, False])
    >>> found = spot_shortcuts(x, y, explain=explain, train=train, annotation=patch)
    >>> found.numbers["detection"]
    1.0

    Args:
        data: inputs without the patch, their parts on one scale.
        labels: their classes.
        explain: makes the explanations.
        train: makes a trained network.
        annotation: R.
        repeats: networks of each kind.
        purity: the share of the rows of M_1 whose shade tells the class; the others' are random.
        samples: inputs that are explained, at most.
        generator: source of the rows, of the shades and of the seeds of the trainings.
        batch_size: inputs that are explained at a time.
    """
    admit_training(data, labels, repeats)
    admission.batched(batch_size)
    generator = admission.drawing(generator)
    runs = mislead(
        data, labels, annotation, explain, train, repeats=repeats, purity=purity, samples=samples,
        controls=True, generator=generator, batch_size=batch_size,
    )  # fmt: skip
    numbers, curves = detected(runs, annotation)
    right = learned_shortcut(runs, batch_size)
    each = [dict(zip(right, of_one, strict=True)) for of_one in zip(*right.values(), strict=True)]
    return Measurement(
        numbers | over_repeats(each, shares=tuple(right)) | {"networks": float(2 * repeats)},
        curves,
        {"Share of the mark": ("repeat", "with_shortcut", "without_shortcut")},
    ).to(data.device)


def detected(
    runs: Sequence[Misled], annotation: Bool[Tensor, "*input"]
) -> tuple[dict[str, float], Mapping[str, Tensor]]:
    """The AUROC of networks by what their explanations say of the mark, and what that is.

    Args:
        runs: with their controls.
        annotation: where the marks are.
    """
    without = [run.control_attention for run in runs if run.control_attention is not None]
    one = shares_on_mark([run.attention for run in runs], annotation)
    other = shares_on_mark(without, annotation)

    def auroc(of_one: Tensor, of_other: Tensor) -> dict[str, Tensor]:
        wins = (one[:, None] > other).double() + (one[:, None] == other).double() / 2
        return {"detection": torch.einsum("di,ij,dj->d", of_one, wins, of_other)}

    found = bootstrap(auroc, len(one), len(other), bounds={"detection": (0.0, 1.0)})
    curves = {
        "repeat": torch.arange(1.0, len(one) + 1),
        "with_shortcut": one,
        "without_shortcut": other,
    }
    return {name: float(value) for name, value in found.items()}, curves
