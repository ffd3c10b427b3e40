"""Layer-wise relevance propagation."""

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.propagation.relevance import relevance
from unmask.methods.saliency.propagation.rules import EPSILON, Rules
from unmask.results import Attribution
from unmask.score import Score


@method("bach2015pixel", "montavon2019layer", axioms=("dummy", "symmetry", "linearity"))
def lrp(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    rules: Rules = EPSILON,
    batch_size: int | None = None,
) -> Attribution:
    r"""Hand the score back from layer to layer, each sharing out what it is given.

    $$
    R_j = \sum_k \frac{a_j w_{jk}}{z_k + \epsilon \, \mathrm{sign}\, z_k} R_k, \qquad
    z_k = \sum_j a_j w_{jk} + b_k
    $$

    is the rule epsilon. Other rules weigh contributions otherwise; each is a value of the module
    `rules`, and so is the choice of a rule per layer: `EPSILON`, `EPSILON_PLUS`, `ALPHA2_BETA1`,
    `epsilon_gamma_box(low, high)`, or a `Rules(...)` of one's own, which may name layers.

    What happens between the layers of weights: activations pass relevance on unchanged, the winner
    of a maximum takes all, sums and averages share by contribution, two factors share alike, and
    what a normalisation divides by counts as a constant. Batch normalisation is merged into the
    layer before it. Softmax is differentiated as it is, and so is the way the score reads the
    model's output. Operations are met as they are called, so the model may be written in any way;
    what has no rule raises an `UnsupportedLayer`.

    Relevance that biases, epsilon and dead ends keep is lost, and `gap` says how much: score less
    sum. Without biases, with epsilon near zero, there is no gap; on ReLU networks the rule epsilon
    is then the input times the gradient. The rule alpha-beta hands on too much where an output has
    no contributions below zero, and z+ nothing where it has none above.

    Args:
        score: what is handed back; the logit of a class is the custom.
        x: the inputs.
        rules: how layers share.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> import torch
    >>> from unmask.score import logit
    >>> neuron = torch.nn.Linear(2, 1, bias=False)
    >>> neuron.weight.data = torch.tensor([[3.0, -1.0]])
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> lrp(logit(neuron, 0), x).values.round(decimals=3)
    tensor([[ 3., -2.]])
    >>> from unmask.methods.saliency.propagation.rules import Rules, alpha_beta
    >>> lrp(logit(neuron, 0), x, rules=Rules(alpha_beta(), alpha_beta())).values.round(decimals=3)
    tensor([[ 2., -1.]])
    """
    return relevance(score, x, rules, batch_size=batch_size)
