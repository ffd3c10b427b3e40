"""Open a folder with a transformers model: a classifier of texts or a language model."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from unmask.run.models.opened import Opened, digest_of_module
from unmask.run.models.sentence import Sentence, in_words


class Logits(nn.Module):
    """A transformers model as a function from token ids to logits.

    Args:
        network: the model.
        causal: whether it predicts the next token; then only the last position is computed,
            where the model can do that.
    """

    def __init__(self, network: Any, causal: bool):
        super().__init__()
        self.network = network
        self.options: dict[str, Any] = {}
        if causal:
            self.options["use_cache"] = False
            if "logits_to_keep" in network.forward.__code__.co_varnames:
                self.options["logits_to_keep"] = 1
        else:
            # Decoders that classify read the last token that is no padding. A hidden word may be
            # the same token as padding, and must not move the place that is read.
            network.config.pad_token_id = -1

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Tensor:
        mask = torch.ones_like(ids)  # a hidden word is another token, not a shorter text
        return self.network(input_ids=ids, attention_mask=mask, **self.options).logits


def open_transformers(folder: Path) -> Opened:
    """Open a folder as `save_pretrained` writes it. Only safetensors, no code, no network.

    Args:
        folder: with config.json, weights in safetensors and a fast tokenizer.
    """
    architecture = _architecture(folder)
    causal = architecture.endswith(("ForCausalLM", "LMHeadModel"))
    if not causal and not architecture.endswith("ForSequenceClassification"):
        raise ValueError(
            f"The model in '{folder}' is a {architecture}. Give a sequence classifier or a causal "
            "language model; for others write a function that returns an nn.Module."
        )
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        raise ValueError(
            f"The folder '{folder}' holds no weights in safetensors, but {found}. Save the model "
            "with model.save_pretrained(folder, safe_serialization=True)."
        )
    network, tokenizer = _loaded(folder, causal)
    if not tokenizer.is_fast:
        raise ValueError(
            f"The tokenizer in '{folder}' is slow and does not say where tokens stand in the text. "
            "Save a fast one: AutoTokenizer.from_pretrained(name).save_pretrained(folder)."
        )
    model = Logits(network, causal).eval()
    labels = getattr(network.config, "id2label", None) or {}
    count = 0 if causal else int(network.config.num_labels or 0)
    classes = tuple(str(labels.get(i, i)) for i in range(count))
    blank = _blank(tokenizer, causal)
    return Opened(
        model,
        digest_of_module(model),
        classes=_vocabulary(tokenizer, network.config.vocab_size) if causal else classes,
        dtype=torch.int64,
        read_text=lambda text: _read(tokenizer, text),
        blank=blank,
        causal=causal,
        notes=("The input is token ids, which have no gradient: gradient methods are left out.",),
    )


def _loaded(folder: Path, causal: bool) -> tuple[Any, Any]:
    """Network and tokenizer. Sums over many coalitions need float32, whatever was saved."""
    import transformers
    from transformers.utils import logging

    kind = (
        transformers.AutoModelForCausalLM
        if causal
        else transformers.AutoModelForSequenceClassification
    )
    only = {"local_files_only": True, "trust_remote_code": False}
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        loaded: Any = kind.from_pretrained(
            str(folder),
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **only,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **only)
    except Exception as error:  # transformers raises many kinds, with no parent of their own
        raise ValueError(
            f"transformers cannot open '{folder}': {' '.join(str(error).split())[:200]}. It needs "
            "config.json, weights in safetensors and the tokenizer's files, and no code of its own."
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    network, report = loaded
    if report["missing_keys"]:
        raise ValueError(
            f"The weights in '{folder}' lack {sorted(report['missing_keys'])[0]!r} and would be "
            "random there. Save the whole model, with its head, by save_pretrained."
        )
    return network, tokenizer


def _architecture(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return str(config["architectures"][0])
    except FileNotFoundError:
        raise ValueError(
            f"The folder '{folder}' holds no config.json, so it is no transformers model. "
            "Give a folder that model.save_pretrained and tokenizer.save_pretrained wrote."
        ) from None
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"config.json in '{folder}' does not name an architecture ({error}). "
            "Save the model anew with save_pretrained."
        ) from None


def _read(tokenizer: Any, text: str) -> Sentence:
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids = torch.tensor(encoded["input_ids"], dtype=torch.int64)
    return in_words(text, ids, [tuple(span) for span in encoded["offset_mapping"]])


def _blank(tokenizer: Any, causal: bool) -> tuple[int, str]:
    """The token that says least: what was trained as a gap, else what is unknown, else padding."""
    order = ("unk", "pad", "eos") if causal else ("mask", "unk", "pad", "eos")
    for name in order:
        number = getattr(tokenizer, f"{name}_token_id", None)
        if number is not None:
            return int(number), f"the {name} token {getattr(tokenizer, f'{name}_token')!r}"
    return 0, "token 0"


def _vocabulary(tokenizer: Any, size: int) -> tuple[str, ...]:
    """Each token as it reads."""
    return tuple(repr(tokenizer.decode([i])) for i in range(size))
