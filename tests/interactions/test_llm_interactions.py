import pytest
import torch
from torch import nn

from exhibits import exhibit
from unmask import tokens, words
from unmask.interactions import (
    and_interaction,
    content_words,
    llm_interactions,
    next_word_game,
    universal_matching,
)
from unmask.lattice import coalitions
from unmask.zoo.llama import Llama

IDS = torch.tensor([1, 7, 4, 4, 9, 2, 5])
GROUPS = [None, 0, 0, 1, None, 2, 2]
NAMES = ["one", "two", "three"]


def language_model(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Llama(vocabulary=11, width=16, hidden=24, depth=2, heads=4, shared=2).double().eval()


def log_odds_by_hand(logits, y):
    p = logits.double().softmax(-1)
    return float((p[y] / (p.sum() - p[y])).log())


def slow(model, ids, groups, hide):
    """The game on every coalition, one forward pass of token ids after another."""
    y = int(model(ids[None])[0, -1].argmax())
    table = []
    for mask in coalitions(3).tolist():
        shown = ids.clone()
        for i, group in enumerate(groups):
            if group is not None and not mask[group]:
                shown[i] = hide
        table.append(log_odds_by_hand(model(shown[None])[0, -1].detach(), y))
    return torch.tensor(table, dtype=torch.float64)


def of_ids(model, hide=0, **options):
    return next_word_game(
        model, IDS, players=words(GROUPS, NAMES), baseline=torch.tensor(hide), **options
    )


def test_the_game_by_plain_loops():
    model = language_model()
    assert torch.allclose(of_ids(model).table(), slow(model, IDS, GROUPS, 0), atol=1e-9)


def test_hidden_among_the_embeddings_it_is_the_same_game():
    """The embedding of a token in place of the token itself."""
    model = language_model()
    row = model.tok_embeddings.weight.detach()[3]
    found = next_word_game(
        model, IDS, players=words(GROUPS, NAMES), baseline=row, layer="tok_embeddings"
    ).table()
    assert torch.allclose(found, slow(model, IDS, GROUPS, 3), atol=1e-9)


def test_words_of_several_tokens_flip_together():
    seen = []
    model = language_model()
    model.tok_embeddings.register_forward_hook(lambda _, given, out: seen.append(given[0].clone()))
    of_ids(model, hide=0)(torch.tensor([[True, False, True], [False, True, False]]))
    hidden = (seen[-1] != IDS).tolist()
    assert hidden == [
        [False, False, False, True, False, False, False],
        [False, True, True, False, False, True, True],
    ]


def test_the_terms_match_the_model_on_every_mask():
    model = language_model()
    terms = llm_interactions(
        model, IDS, players=words(GROUPS, NAMES), baseline=torch.tensor(0), batch_size=3
    )
    table = slow(model, IDS, GROUPS, 0)
    assert torch.allclose(terms(coalitions(3)), table, atol=1e-9)
    assert terms.empty == pytest.approx(float(table[0]))
    assert terms.names == tuple(NAMES)
    dividends = and_interaction(of_ids(model))
    assert float(dividends.effects.sum()) == pytest.approx(float(table[-1] - table[0]))


@pytest.mark.parametrize("layer", [None, "tok_embeddings"])
def test_no_more_prompts_at_a_time_than_told(layer):
    model, seen = language_model(), []
    model.norm.register_forward_hook(lambda _, given, out: seen.append(len(out)))
    row = torch.tensor(0) if layer is None else model.tok_embeddings.weight.detach()[0]
    llm_interactions(
        model, IDS, players=words(GROUPS, NAMES), baseline=row, layer=layer, batch_size=3
    )
    assert max(seen) <= 3
    assert sum(seen) <= 8 + 2  # every coalition once, and what finds the likeliest token


def test_a_target_of_ones_own():
    model = language_model()
    y = int(model(IDS[None])[0, -1].argmin())
    value = of_ids(model, target=y).table()[-1]
    expected = log_odds_by_hand(model(IDS[None])[0, -1].detach(), y)
    assert float(value) == pytest.approx(expected)


def test_a_word_that_is_not_read_has_no_term():
    """Of a model that looks at the last token alone."""
    model = nn.Sequential(nn.Embedding(11, 5), nn.Linear(5, 11)).double()
    terms = llm_interactions(model, IDS, players=words(GROUPS, NAMES), baseline=torch.tensor(0))
    assert (terms.members.tolist(), terms.is_or.tolist()) == ([[False, False, True]], [False])


def test_a_single_word_and_sets_of_baselines():
    model = language_model()
    alone = words([None, 0, 0, None, None, None, None], ["one"])
    rows = model.tok_embeddings.weight.detach()
    both = next_word_game(
        model, IDS, players=alone, layer="tok_embeddings",
        baseline=rows[[0, 3], None].expand(-1, len(IDS), -1),
    ).table()  # fmt: skip
    each = [
        next_word_game(model, IDS, players=alone, baseline=torch.tensor(i)).table() for i in (0, 3)
    ]
    assert torch.allclose(both, (each[0] + each[1]) / 2, atol=1e-9)


@pytest.mark.slow
def test_models_of_transformers():
    transformers = pytest.importorskip("transformers")

    class Logits(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(ids).logits

    sizes = {"vocab_size": 13, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}
        gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **small))
        small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
        llama = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**sizes, **small, intermediate_size=16)
        )
    for inner, layer in ((gpt, "model.transformer.wte"), (llama, "model.model.embed_tokens")):
        model = Logits(inner.eval())
        row = inner.get_input_embeddings().weight.detach()[3]
        found = next_word_game(
            model, IDS, players=words(GROUPS, NAMES), baseline=row, layer=layer
        ).table()
        with torch.no_grad():
            expected = slow(model, IDS, GROUPS, 3)
        assert torch.allclose(found.double(), expected, atol=1e-5)  # in float32


@pytest.mark.parametrize("number", [3, 9])
def test_a_story(number):
    """The specification's own check: the way of embeddings and the way of ids agree."""
    stories = exhibit("stories")
    model, ids = stories.model, stories.inputs[number]
    players = content_words(stories.view(number).pieces)
    row = model.tok_embeddings.weight.detach()[0]
    by_rows = next_word_game(model, ids, players=players, baseline=row, layer="tok_embeddings")
    by_ids = next_word_game(model, ids, players=players, baseline=torch.tensor(0))
    assert (by_rows.table() - by_ids.table()).abs().max() < 1e-5
    with torch.no_grad():
        logits = model(ids[None])[0, -1]
    expected = log_odds_by_hand(logits, int(logits.argmax()))
    assert float(by_rows.table()[-1]) == pytest.approx(expected, abs=1e-5)
    terms = llm_interactions(
        model, ids, players=players, baseline=row, layer="tok_embeddings", tolerance=0.04
    )
    assert terms.gap is not None
    assert terms.gap < 1e-6
    reach = float((by_rows.table()[-1] - by_rows.table()[0]).abs())
    assert universal_matching(by_rows, terms=terms).numbers["largest_error"] <= 0.04 * reach + 1e-5


def test_a_sentence_whose_sentiment_is_told():
    reviews = exhibit("sst2")
    players, ids = reviews.players(0), reviews.inputs[0]
    terms = llm_interactions(reviews.model, ids, players=players, baseline=reviews.baseline(0))
    with torch.no_grad():
        logits = reviews.model(ids[None])[0]
    everyone = torch.ones(1, len(players.names), dtype=torch.bool)
    expected = log_odds_by_hand(logits, int(logits.argmax()))
    assert float(terms(everyone)) == pytest.approx(expected, abs=1e-4)  # sums of float32 outputs


def test_nothing_is_left_behind():
    model = language_model()
    model.tok_embeddings.weight.requires_grad_(False)

    def fails(_, inputs):
        raise RuntimeError("broken")

    row = model.tok_embeddings.weight.detach()[0]
    options = {"players": words(GROUPS, NAMES), "baseline": row, "layer": "tok_embeddings"}
    with torch.inference_mode():
        llm_interactions(model, IDS, **options)
    handle = model.layers[1].register_forward_pre_hook(fails)
    with pytest.raises(RuntimeError, match="broken"):
        llm_interactions(model, IDS, **options)
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())
    assert not model.tok_embeddings.weight.requires_grad
    assert model.norm.weight.requires_grad


def test_bad_input():
    model, players = language_model(), words(GROUPS, NAMES)
    row = model.tok_embeddings.weight.detach()[0]
    with pytest.raises(TypeError, match="Name the embedding layer"):
        llm_interactions(model, IDS, players=players, baseline=row)
    with pytest.raises(TypeError, match="Give an embedding"):
        llm_interactions(
            model, IDS, players=players, baseline=torch.tensor(0), layer="tok_embeddings"
        )
    with pytest.raises(ValueError, match="without a batch axis"):
        llm_interactions(model, row[None], players=players, baseline=row, layer="tok_embeddings")
    with pytest.raises(ValueError, match="a token at least"):
        llm_interactions(model, IDS[:0], players=players, baseline=torch.tensor(0))
    with pytest.raises(ValueError, match="players of one input"):
        llm_interactions(model, IDS, players=tokens(3), baseline=torch.tensor(0))
    mixed = nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Unflatten(1, (4, 7)))
    with pytest.raises(ValueError, match="one vector per token"):
        llm_interactions(mixed, IDS, players=players, baseline=torch.zeros(7), layer="2")
    with pytest.raises(ValueError, match="is not in the model"):
        llm_interactions(model, IDS, players=players, baseline=row, layer="embeddings")
    with pytest.raises(ValueError, match="Return logits"):
        llm_interactions(
            nn.Flatten(0), IDS.double()[:1], players=tokens(1), baseline=torch.tensor(0.0)
        )
    with pytest.raises(ValueError, match="The prompt must be finite"):
        llm_interactions(model, row * torch.nan, players=players, baseline=row)
