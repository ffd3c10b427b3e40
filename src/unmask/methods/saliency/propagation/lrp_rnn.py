"""Relevance propagation for recurrent networks."""

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.propagation.recurrent import Recurrence
from unmask.methods.saliency.propagation.relevance import relevance
from unmask.methods.saliency.propagation.rules import Rules
from unmask.methods.saliency.propagation.rules import epsilon as epsilon_rule
from unmask.results import Attribution
from unmask.score import Score


@method("arras2017explaining")
def lrp_rnn(
    score: Score,
    x: Float[Tensor, "batch tokens width"],
    *,
    epsilon: float = 1e-3,
    bias_share: float = 0.0,
    batch_size: int | None = None,
) -> Attribution:
    r"""Hand the score back through a recurrent network, word by word.

    $$
    p = \sigma(\mathrm{gate}) \cdot \mathrm{source}: \quad R_{\mathrm{source}} = R_p, \;
    R_{\mathrm{gate}} = 0; \qquad
    R_{c_{t-1}} = \frac{f_t\, c_{t-1}}{c_t} R_{c_t}, \quad
    R_{g_t} = \frac{i_t\, g_t}{c_t} R_{c_t}
    $$

    and by the rule epsilon from the sum behind g to x_t and h_{t-1}; tanh passes relevance on
    unchanged. LSTM, GRU and plain recurrent layers are met as they are called, in any number of
    layers and directions, and whatever else is in the model is handed back as by `lrp`. The
    relevance of a word is the sum over its embedding, `values.sum(2)`.

    What biases and epsilon take is lost, and `gap` says how much; with `bias_share` it is spread
    evenly over what a sum was made of, which serves to check that nothing else is lost, but makes
    words relevant that are not.

    Args:
        score: what is handed back; the logit of a class is the custom.
        x: embedded words. Of token ids, split the model behind its embedding.
        epsilon: moves denominators away from zero.
        bias_share: how much of what biases and epsilon take in a recurrent layer is spread, from 0
            to 1.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> import torch
    >>> from unmask.score import logit
    >>> reader = torch.nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True)
    >>> for weight in reader.parameters():
    ...     _ = torch.nn.init.constant_(weight, 0.5)
    >>> words = torch.tensor([[[4.0], [2.0]]])
    >>> last = logit(lambda x: reader(x)[0][:, -1], 0)
    >>> lrp_rnn(last, words, epsilon=0.0).values[0, :, 0]
    tensor([1., 1.])
    """
    if not 0 <= bias_share <= 1:
        raise ValueError(f"{bias_share} is no share of what biases take. Give one from 0 to 1.")
    rule = epsilon_rule(epsilon)
    return relevance(
        score,
        x,
        Rules(rule, rule),
        handlers=lambda _: {"recurrent": Recurrence(epsilon, bias_share)},
        batch_size=batch_size,
    )
