"""Folders with transformers models."""

import json
import subprocess
import sys

import pytest
import torch

from run.tiny import write_classifier, write_decoding_classifier, write_language_model
from unmask.run import Source, open_model, read_inputs
from unmask.run.choices.scene import Scene

TEXT = "The film was not goodish, very bad!"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    write_classifier(folder)
    return folder


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language_model")
    write_language_model(folder)
    return folder


def test_a_classifier_says_what_transformers_says(classifier):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    opened = open_model(str(classifier))
    material = read_inputs(Source(text=(TEXT,)), opened)
    network = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    encoded = AutoTokenizer.from_pretrained(classifier)(TEXT, return_tensors="pt")
    with torch.no_grad():
        expected = network(**encoded).logits[0]
    torch.testing.assert_close(Scene(opened, material, 0).output(), expected)
    assert opened.classes == ("blame", "praise")
    assert opened.blank == (4, "the mask token '[MASK]'")
    assert not opened.differentiable


def test_words_keep_their_pieces_and_marks_are_nobodys(classifier):
    sentence = read_inputs(Source(text=(TEXT,)), open_model(str(classifier))).sentences[0]
    assert sentence.names == ("The", "film", "was", "not", "goodish", ",", "very", "bad", "!")
    assert sentence.words == (-1, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, -1)
    assert "".join(sentence.pieces) == TEXT


def test_a_language_model_predicts_the_token_that_transformers_predicts(language_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    opened = open_model(str(language_model))
    material = read_inputs(Source(text=(TEXT,)), opened)
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    network = AutoModelForCausalLM.from_pretrained(language_model).eval()
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = network(ids).logits[0, -1]
    torch.testing.assert_close(Scene(opened, material, 0).output(), expected)
    assert opened.causal
    token = int(expected.argmax())
    assert opened.class_name(token) == repr(tokenizer.decode([token]))


def test_a_hidden_last_word_is_not_taken_for_padding(tmp_path):
    from transformers import LlamaForSequenceClassification

    write_decoding_classifier(tmp_path)
    opened = open_model(str(tmp_path))
    ids = read_inputs(Source(text=("the film was good",)), opened).inputs[0]
    assert opened.blank is not None
    hidden = ids.clone()
    hidden[-1] = opened.blank[0]
    assert hidden[-1] == 1
    network = LlamaForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = network.base_model(hidden[None]).last_hidden_state
        torch.testing.assert_close(opened.model(hidden[None]), network.score(states[:, -1]))


def _copy(folder, target):
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def _config(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def test_folders_that_cannot_be_opened_say_why(classifier, tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        open_model(str(tmp_path))
    _copy(classifier, tmp_path)
    _config(tmp_path, architectures=["BertForMaskedLM"])
    with pytest.raises(ValueError, match=r"is a BertForMaskedLM\. Give a sequence classifier"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="does not name an architecture"):
        open_model(str(tmp_path))


def test_only_safetensors_are_read(classifier, tmp_path):
    _copy(classifier, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no weights in safetensors"):
        open_model(str(tmp_path))


def test_truncated_weights_and_missing_heads_are_refused(classifier, tmp_path):
    from safetensors.torch import load_file, save_file

    _copy(classifier, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    headless = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(headless, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 'classifier\.bias' and would be random"):
        open_model(str(tmp_path))
    data = (classifier / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="transformers cannot open"):
        open_model(str(tmp_path))


def test_code_in_the_folder_is_not_run(classifier, tmp_path):
    _copy(classifier, tmp_path)
    mark = tmp_path / "exploded"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    _config(
        tmp_path,
        model_type="evil",
        auto_map={"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"},
    )
    with pytest.raises(ValueError, match="transformers cannot open"):
        open_model(str(tmp_path))
    assert not mark.exists()


def test_opening_is_silent(classifier):
    code = f"from unmask.run import open_model; open_model({str(classifier)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
