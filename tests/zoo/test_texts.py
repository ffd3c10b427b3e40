import gzip
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from unmask import zoo
from unmask.zoo.data import sentiments, story_tokenizer
from unmask.zoo.llama import continued
from unmask.zoo.texts import MASK, PROMPTS, spaced, speaking, word_players


def words(text):
    return text.split()


def test_story_model_goes_on_as_it_is_known_to(real_data):
    tokenizer = story_tokenizer()
    ids = continued(zoo.stories().model, tokenizer.encode("Once upon a time"), 45)
    assert tokenizer.decode(ids).startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park. One day, she saw a big, red ball."
    )


def test_the_players_of_a_prompt_are_its_words(real_data):
    exhibit = zoo.stories()
    tokens = exhibit.classes
    for i, prompt in enumerate(PROMPTS):
        players = exhibit.players(i)
        spelt = [""] * len(players.names)
        for id_, owner in zip(exhibit.inputs[i].tolist(), players.owner.tolist(), strict=True):
            if owner >= 0:
                spelt[owner] += tokens[id_]
        assert [word.strip() for word in spelt] == prompt.split()
        assert players.owner[0] == -1
        assert (players.owner[1:] >= 0).all()
        assert "".join(exhibit.view(i).pieces) == prompt


def test_story_model_looks_back_only(real_data):
    model = zoo.stories().model
    ids = zoo.stories().inputs[0]
    changed = ids.clone()
    changed[-1] = 300
    whole, other = model(torch.stack([ids, changed]))
    assert torch.allclose(whole[:-1], other[:-1], atol=1e-5)
    assert torch.allclose(model(ids[None, :5])[0], whole[:5], atol=1e-4)
    assert (whole[-1] - other[-1]).abs().max() > 0.1


@pytest.mark.slow
def test_sentiment_of_the_development_set(real_data):
    exhibit = zoo.sst2()
    counts = Counter()
    file = Path(os.environ["UNMASK_DATA"], "sst2/train_phrases.tsv.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            counts.update(line.rsplit("\t", 1)[0].split())
    ranked = sorted(
        (word for word in counts if counts[word] > 2), key=lambda w: -counts[w]
    )  # stable: of equals, the first met
    ids = {word: i for i, word in enumerate(ranked, start=2)}
    right = 0
    dev = sentiments("dev")
    for text, label in dev:
        row = torch.tensor([[ids.get(word, MASK) for word in text]])
        right += int(exhibit.model(row).argmax()) == label
    assert len(dev) == 872
    assert right / len(dev) >= 0.78


@pytest.mark.slow
def test_a_text_without_words_says_nothing(real_data):
    model = zoo.sst2().model
    p = model(torch.full((1, 8), MASK)).softmax(1)[0, 1].item()
    assert 0.3 < p < 0.7


def test_short_sentences_play_whole_and_long_ones_by_what_they_say():
    short = words("it 's not a good film .")
    assert speaking(short) == [0, 1, 2, 3, 4, 5]
    long = words("the film is a very good one , but it is not at all what you would hope for .")
    assert [long[i] for i in speaking(long)] == ["film", "very", "good", "but", "not", "hope"]
    players = word_players(long, speaking(long))
    assert players.names == ("film", "very", "good", "but", "not", "hope")
    assert [i for i, owner in enumerate(players.owner.tolist()) if owner >= 0] == speaking(long)


def test_words_are_spaced_as_they_are_written():
    text = words("it does n't work ( at all ) , it 's bad !")
    assert "".join(spaced(text)) == "it doesn't work (at all), it's bad!"
    assert len(spaced(text)) == len(text)
