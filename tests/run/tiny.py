"""Small real models and files, made on the spot."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

WORDS = ("the", "film", "was", "not", "good", "bad", "very", "a", "story", "once", "upon", "time")


def perceptron(columns: int = 4, classes: int = 3) -> nn.Module:
    """A network with fixed weights."""
    generator = torch.Generator().manual_seed(7)
    model = nn.Sequential(nn.Linear(columns, 8), nn.Tanh(), nn.Linear(8, classes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


def rows(count: int = 6, columns: int = 4) -> Tensor:
    """Inputs for it."""
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(3))


def write_exported(path: Path, model: nn.Module, x: Tensor, *, dynamic: bool) -> None:
    """A .pt2 program."""
    shapes = ({0: torch.export.Dim.AUTO},) if dynamic else None
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes=shapes), path)


def write_onnx(path: Path, model: nn.Module, batch: int | str, columns: int = 4) -> None:
    """The network as an ONNX graph, built by hand."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = ("W1", "b1", "W2", "b2")
    weights = [
        numpy_helper.from_array(value.detach().numpy(), name)
        for name, value in zip(names, model.parameters(), strict=True)
    ]
    classes = len(list(model.parameters())[-1])
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "W1", "b1"], ["h"], transB=1),
            helper.make_node("Tanh", ["h"], ["t"]),
            helper.make_node("Gemm", ["t", "W2", "b2"], ["z"], transB=1),
        ],
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, columns])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, classes])],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def write_tokenizer(folder: Path, *, causal: bool) -> int:
    """A word-piece tokenizer; the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = [*special, *WORDS, "##ish", "##ly", ".", "!", ","]
    ids = {word: i for i, word in enumerate(vocabulary)}
    raw = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if not causal:
        raw.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if not causal:
        names |= {"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(folder)
    return len(vocabulary)


def write_classifier(folder: Path) -> None:
    """A BERT that fits on a page, saved as transformers saves it."""
    from transformers import BertConfig, BertForSequenceClassification

    size = write_tokenizer(folder, causal=False)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label={0: "blame", 1: "praise"},
        label2id={"blame": 0, "praise": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def write_decoding_classifier(folder: Path) -> None:
    """A Llama that classifies, whose padding is also its unknown token."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    size = write_tokenizer(folder, causal=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        pad_token_id=1,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)


def write_language_model(folder: Path) -> None:
    """A Llama that fits on a page, saved as transformers saves it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size = write_tokenizer(folder, causal=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_csv(path: Path, x: Tensor, names: tuple[str, ...], extra: dict[str, list[str]]) -> None:
    """A table with a header; extra columns come last."""
    lines = [",".join([*names, *extra])]
    for i, row in enumerate(x.tolist()):
        lines.append(",".join([*map(repr, row), *(cells[i] for cells in extra.values())]))
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_picture(path: Path, height: int, width: int, seed: int = 0) -> None:
    """A picture of noise."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
