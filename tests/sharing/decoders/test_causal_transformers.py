"""Decoders of the package transformers, of random weights."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from run.tiny import write_decoding_classifier, write_language_model
from shareable import definition, eager, is_shared
from unmask import Players, log_odds, masked, token_log_odds
from unmask.run import open_model
from unmask.sharing import rows_run

SIZE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
OWNER = torch.tensor([-1, 0, 0, 1, 2, -1, 3, 4, 0, 5, 6, -1])
PLAYERS = Players(OWNER, tuple("abcdefg"))
X = torch.randint(1, 20, (12,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(name="always", autouse=True)
def _always(monkeypatch):
    pytest.importorskip("transformers")
    eager(monkeypatch)


def decoder(name, dtype=torch.float64, seed=0):
    import transformers

    torch.manual_seed(seed)
    kinds = {
        "llama": ("LlamaConfig", "LlamaForCausalLM", SIZE),
        "mistral": ("MistralConfig", "MistralForCausalLM", SIZE | {"sliding_window": 4}),
        "gemma": ("Gemma2Config", "Gemma2ForCausalLM", SIZE | {"head_dim": 4, "sliding_window": 4}),
        "qwen": ("Qwen2Config", "Qwen2ForCausalLM", SIZE),
        "gpt": (
            "GPT2Config",
            "GPT2LMHeadModel",
            {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 4}
            | {"bos_token_id": 1, "eos_token_id": 1},
        ),
    }
    config, kind, sizes = kinds[name]
    return getattr(transformers, kind)(getattr(transformers, config)(**sizes)).to(dtype).eval()


def whole(model):
    return token_log_odds(lambda ids: model(ids).logits, 3)


def marked(model):
    """As the package wraps them, with a mask of ones and only the last logits."""

    def call(ids):
        ones = torch.ones_like(ids)
        return model(input_ids=ids, attention_mask=ones, use_cache=False, logits_to_keep=1).logits

    return token_log_odds(call, 3)


class Choice(nn.Module):
    """A small module of a user, who never called eval on it."""

    def __init__(self, network):
        super().__init__()
        self.network, self.words = network, [4, 9, 2]

    def forward(self, ids):
        places = torch.arange(ids.shape[1]).expand_as(ids)
        return self.network(ids, position_ids=places).logits[:, -1, self.words]


def chosen(model):
    return log_odds(Choice(model), 1)


def table_of(score, x=X, players=PLAYERS, background=None, **options):
    """A table, how far from its definition it is, and what it took."""
    background = 0 * x if background is None else background
    game = masked(score, x, players, background, **options)
    table = game.table()
    return float((table - definition(score, x, players, background)).abs().max()), game


@pytest.mark.parametrize("make", [whole, marked, chosen])
@pytest.mark.parametrize("name", ["llama", "gpt", "mistral", "gemma", "qwen"])
def test_decoders(name, make):
    """Two of them look back by four tokens only; one writes a table of positions into tokens."""
    apart, game = table_of(make(decoder(name)))
    assert apart <= (1e-10 if name == "gpt" else 1e-6)  # the others have norms in float32
    assert is_shared(game)
    rows = rows_run(game)
    assert rows["all, to plan"] == 3
    assert [count for name, count in rows.items() if name.startswith("token")] == [
        2**i for i in range(8)
    ]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_batches_and_backgrounds(batch_size):
    other = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(4))
    other[0, 6] = X[6]
    apart, game = table_of(whole(decoder("gpt")), background=other, batch_size=batch_size)
    assert apart <= 1e-10
    assert is_shared(game)
    rows = rows_run(game)
    assert rows["all, to plan"] == 3  # once for both
    assert rows["the rest"] == 256
    assert rows["tokens 10 to 11"] == 128 + 64


@pytest.mark.parametrize("name", ["llama", "gpt"])
def test_single_precision(name):
    apart, game = table_of(whole(decoder(name, torch.float32)))
    assert apart <= 1e-5  # rounding of logits of size one
    assert is_shared(game)


def test_the_head_is_spared_what_no_score_reads(monkeypatch):
    """The logits of one place of 128 rows, and of all places of those that plan and check."""
    model, places, true = decoder("llama"), [], nn.Linear.forward

    def watched(layer, x):
        if layer is model.lm_head:
            places.append(x[..., 0].numel())
        return true(layer, x)

    monkeypatch.setattr(nn.Linear, "forward", watched)
    score = whole(model)
    game = masked(score, X, PLAYERS, 0 * X)
    game.table()
    assert is_shared(game)
    assert sum(places) == 12 * (2 + 2 + 2 * 12 + 1 + 64) + 128


@pytest.mark.parametrize("name", ["llama", "gpt"])
def test_embeddings_for_tokens(name):
    model = decoder(name)
    table = model.get_input_embeddings().weight.detach()
    x = table[X]
    owner = OWNER[:, None].expand_as(x).clone()
    score = token_log_odds(lambda rows: model(inputs_embeds=rows).logits, 3)
    apart, game = table_of(score, x, Players(owner, PLAYERS.names), table.mean(0))
    assert apart <= 1e-6
    assert is_shared(game)


def test_opened_folders(tmp_path):
    """A language model and a classifier, as the package opens them."""
    for write, make in (
        (write_language_model, token_log_odds),
        (write_decoding_classifier, log_odds),
    ):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
        score = make(open_model(str(folder)).model, 1)
        apart, game = table_of(score)
        assert apart <= 1e-5  # in float32
        assert is_shared(game)


def test_a_classifier_that_looks_for_the_last_word_is_found_out():
    """Where the last tokens are padding it reads an earlier one."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZE, num_labels=3, pad_token_id=0)
    model = transformers.LlamaForSequenceClassification(config).double().eval()
    x, players = X[:7], Players(torch.arange(7), PLAYERS.names)
    apart, game = table_of(log_odds(lambda ids: model(ids).logits, 1), x, players)
    assert apart <= 1e-12
    assert rows_run(game)["all"] == 128


def by_types(model):
    return lambda ids: model(ids, token_type_ids=ids * 0 + 4).logits


def with_a_past(model):
    with torch.no_grad():
        past = model(X[None, :3], use_cache=True).past_key_values

    def call(ids):
        own = deepcopy(past)
        own.batch_repeat_interleave(len(ids))
        return model(ids, past_key_values=own).logits

    return call


@pytest.mark.parametrize("call", [by_types, with_a_past])
def test_calls_that_say_more_than_tokens_are_left_alone(call):
    apart, game = table_of(token_log_odds(call(decoder("gpt")), 3))
    assert apart <= 1e-12
    assert rows_run(game) == {"all": 128}


def by_words(model):
    return lambda ids: model(ids, attention_mask=(ids > 0).long()).logits


def other_words(model):
    return lambda ids: model(torch.where(ids == 0, 29, ids)).logits


def other_places(model):
    return lambda ids: model(ids, position_ids=(ids > 0).long().cumsum(1) - 1).logits


@pytest.mark.parametrize("call", [by_words, other_words, other_places])
def test_calls_that_say_more_of_some_rows_only_are_refused_at_once(call):
    """Of x itself, in which nothing is hidden, they say nothing else."""
    apart, game = table_of(token_log_odds(call(decoder("gpt")), 3))
    assert apart <= 1e-12
    assert rows_run(game)["all"] == 128
    assert "all, to check" not in rows_run(game)


def test_models_that_see_everything_are_left_alone():
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        **{name: SIZE[name] for name in ("vocab_size", "hidden_size", "intermediate_size")},
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = transformers.BertForSequenceClassification(config).double().eval()
    apart, game = table_of(log_odds(lambda ids: model(ids).logits, 1))
    assert apart <= 1e-12
    assert rows_run(game) == {"all": 128}


def test_dropout_and_hooks_are_left_alone():
    model = decoder("llama")
    model.train()
    assert rows_run(table_of(whole(model))[1]) == {"all": 128}
    model.eval()
    handle = model.model.layers[0].register_forward_hook(lambda *_: None)
    assert rows_run(table_of(whole(model))[1]) == {"all": 128}
    handle.remove()
    assert is_shared(table_of(whole(model))[1])


@pytest.mark.parametrize("name", ["llama", "gpt"])
def test_the_model_stays_as_it_was(name):
    model = decoder(name)
    model(X[None])  # transformers writes something on first use
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    before = [(m, dict(vars(m))) for m in model.modules()]
    assert is_shared(table_of(whole(model))[1])
    assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())
    for module, had in before:
        assert vars(module).keys() == had.keys()
        assert all(vars(module)[key] is value for key, value in had.items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    whole(model)(X[None]).sum().backward()


@pytest.mark.parametrize("limit", [0, 20, 40, 80, 120])
def test_an_exception_leaves_nothing_behind(monkeypatch, limit):
    model = decoder("llama")
    calls, true = [], nn.Linear.forward

    def fails(layer, x):
        calls.append(layer)
        if len(calls) > limit:
            raise RuntimeError("no more")
        return true(layer, x)

    before = [(module, set(vars(module))) for module in model.modules()]
    monkeypatch.setattr(nn.Linear, "forward", fails)
    game = masked(whole(model), X, PLAYERS, 0 * X, batch_size=8)
    with pytest.raises(RuntimeError, match="no more"):
        game.table()
    assert [(module, set(vars(module))) for module in model.modules()] == before
