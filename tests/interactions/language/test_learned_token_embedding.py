import pytest
import torch
from torch import nn

from exhibits import exhibit
from unmask import words
from unmask.interactions import content_words, learned_token_embedding, second_order_effects
from unmask.zoo.llama import Llama

PROMPTS = [torch.tensor([1, 7, 4, 4, 9, 2, 5]), torch.tensor([1, 3, 8, 2])]
PLAYERS = [words([None, 0, 0, 1, None, 2, 3]), words([None, 0, 1, 2])]


def language_model(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Llama(vocabulary=11, width=16, hidden=24, depth=2, heads=4, shared=2).double().eval()


def options(model):
    return {"players": PLAYERS, "layer": "tok_embeddings"}


def slow_effects(model, r, samples, seed):
    """Differences of differences by single passes; the sets are drawn as the library does."""
    from unmask.interactions.language.learned_token_embedding import _drawn

    generator = torch.Generator().manual_seed(seed)
    found = []
    for ids, players in zip(PROMPTS, PLAYERS, strict=True):
        y = int(model(ids[None])[0, -1].argmax())
        embeddings = model.tok_embeddings.weight[ids]

        def v(kept, ids=ids, y=y, embeddings=embeddings, players=players):
            rows = [
                e if owner < 0 or owner in kept else r
                for e, owner in zip(embeddings, players.owner.tolist(), strict=True)
            ]
            x = torch.stack(rows)[None]
            for layer in model.layers:
                x = layer(x)
            z = (model.norm(x) @ model.tok_embeddings.weight.T)[0, -1]
            others = torch.cat([z[:y], z[y + 1 :]])
            return z[y] - others.logsumexp(0)

        total = 0
        for row in _drawn(len(players.names), samples, generator).tolist():
            one, two, three = ({i for i, s in enumerate(row) if s == k} for k in (1, 2, 3))
            assert one
            assert two
            total = (
                total + (v(one | two | three) - v(one | three) - v(two | three) + v(three)).abs()
            )
        found.append(total / samples)
    return torch.stack(found)


def test_the_effects_by_plain_loops():
    model = language_model()
    r = torch.linspace(-1, 1, 16, dtype=torch.float64)
    found = second_order_effects(
        model, PROMPTS, baseline=r, samples=7, generator=torch.Generator().manual_seed(3),
        **options(model),
    )  # fmt: skip
    assert torch.allclose(found, slow_effects(model, r, 7, 3), rtol=1e-9)


def test_a_step_by_autograd():
    """One pass with momentum over two prompts, against the gradient of the plain loops."""
    model = language_model()
    start = torch.linspace(-1, 1, 16, dtype=torch.float64)
    found = learned_token_embedding(
        model, PROMPTS, start=start, steps=1, samples=5, rate=0.01, momentum=0.5,
        generator=torch.Generator().manual_seed(3), **options(model),
    )  # fmt: skip
    r, speed, losses = start.clone(), torch.zeros(16).double(), []
    for prompt in range(2):
        point = r.clone().requires_grad_()
        loss = slow_effects(model, point, 5, 3)[prompt]
        (gradient,) = torch.autograd.grad(loss, point)
        speed = 0.5 * speed + gradient
        r = r - 0.01 * speed
        losses.append(loss.item())
    assert torch.allclose(found.inputs[0], r, rtol=1e-9)
    assert float(found.trace[0, 0]) == pytest.approx(sum(losses) / 2, rel=1e-9)
    assert float(found.score[0]) == float(found.trace[0, -1])


def test_a_model_without_interactions_has_nothing_to_learn():
    """Each token adds its own, and the classes are two: log-odds add up as well."""

    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 2).double()
            nn.init.normal_(self.embed.weight, generator=torch.Generator().manual_seed(0))

        def forward(self, ids):
            return self.embed(ids).sum(1)

    model = Adds()
    start = torch.tensor([0.3, -2.0]).double()
    effects = second_order_effects(model, PROMPTS, players=PLAYERS, layer="embed", baseline=start)
    assert effects.abs().max() < 1e-12


@pytest.mark.parametrize("batch_size", [4, 9, 1000])
def test_batches_change_nothing(batch_size):
    model = language_model()
    start = torch.linspace(-1, 1, 16, dtype=torch.float64)
    whole = learned_token_embedding(model, PROMPTS, start=start, steps=3, **options(model))
    parts = learned_token_embedding(
        model, PROMPTS, start=start, steps=3, batch_size=batch_size, **options(model)
    )
    assert torch.allclose(whole.inputs, parts.inputs, rtol=1e-9, atol=1e-12)


def test_nothing_is_left_behind():
    model = language_model()
    model.norm.weight.requires_grad_(False)
    before = torch.get_rng_state()
    start = model.tok_embeddings.weight.detach()[0]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        learned_token_embedding(model, PROMPTS, start=start, steps=2, **options(model))
    handle = model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learned_token_embedding(model, PROMPTS, start=start, steps=2, **options(model))
    handle.remove()
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.norm.parameters()] == [False]
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_on_stories_what_is_learned_serves_other_prompts():
    stories = exhibit("stories")
    model, held_out = stories.model, (3, 8, 9)
    others = [i for i in range(12) if i not in held_out]

    def of(numbers):
        return [stories.inputs[i] for i in numbers], {
            "players": [content_words(stories.view(i).pieces) for i in numbers],
            "layer": "tok_embeddings",
        }

    start = model.tok_embeddings.weight.detach()[0]
    prompts, given = of(others)
    learned = learned_token_embedding(model, prompts, start=start, steps=30, **given)
    for numbers, share in ((others, 0.5), (held_out, 0.9)):
        prompts, given = of(numbers)
        before, after = (
            float(second_order_effects(model, prompts, baseline=r, samples=200, **given).mean())
            for r in (start, learned.inputs[0])
        )
        assert after < share * before


def test_bad_input():
    model = language_model()
    start = torch.zeros(16, dtype=torch.float64)
    with pytest.raises(ValueError, match="players for each"):
        learned_token_embedding(model, PROMPTS[:1], start=start, **options(model))
    with pytest.raises(ValueError, match="Leave that prompt out"):
        learned_token_embedding(
            model, PROMPTS[1:], start=start, players=[words([None, 0, 0, 0])],
            layer="tok_embeddings",
        )  # fmt: skip
    with pytest.raises(ValueError, match="Give at least 4"):
        learned_token_embedding(model, PROMPTS, start=start, batch_size=3, **options(model))
    with pytest.raises(ValueError, match="Nothing is learned"):
        learned_token_embedding(model, PROMPTS, start=start, steps=0, **options(model))
    with pytest.raises(ValueError, match="The start must be finite"):
        learned_token_embedding(model, PROMPTS, start=start / 0, **options(model))
