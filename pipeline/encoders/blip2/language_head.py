"""BLIP-2's language head, from text states to words: LAVIS' checkpoints have it, transformers' BLIP-2 does not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from pipeline.errors import QpertError

_PREFIXES = ("Qformer.", "cls.", "predictions.")


def build_language_head(words: nn.Embedding, state: Mapping[str, Tensor] | None = None) -> BertLMPredictionHead:
    """BERT's head (dense, GELU, LayerNorm, decoder) whose decoder weight is that of the word embeddings.

    Args:
        words: [vocabulary, width], the model's word embeddings; shared, not copied.
        state: the head's weights, as LAVIS names them, with or without `Qformer.cls.predictions.` before:
            `transform.dense.*`, `transform.LayerNorm.*` and `decoder.bias`. A `decoder.weight` must be that of the
            embeddings. None: random weights, for training.

    Returns:
        From states [..., width] to logits [..., vocabulary].

    Raises:
        QpertError: weights that are missing, unknown or of other shapes.
    """
    vocabulary, width = words.weight.shape
    head = BertLMPredictionHead(BertConfig(vocab_size=vocabulary, hidden_size=width, hidden_act="gelu"))
    head.bias = None  # transformers keeps a second bias, which nothing reads
    head.decoder.weight = words.weight
    if state is None:
        nn.init.normal_(head.transform.dense.weight, std=0.02)
        nn.init.zeros_(head.decoder.bias)
        return head.to(words.weight)
    given = {_plain(name): value for name, value in state.items()}
    bias, decoder = given.pop("bias", None), given.pop("decoder.weight", None)
    if decoder is not None and (decoder.shape != words.weight.shape or not _same(decoder, words.weight)):
        raise QpertError(
            "the language head's decoder.weight is not the model's word embeddings: they are of two models"
        )
    if "decoder.bias" not in given and bias is not None:
        given["decoder.bias"] = bias  # only the decoder's bias grows with LAVIS' vocabulary
    wanted = {name: value.shape for name, value in head.state_dict().items() if name != "decoder.weight"}
    shapes = {name: value.shape for name, value in given.items()}
    if wanted != shapes:
        wrong = sorted(name for name in wanted | shapes if wanted.get(name) != shapes.get(name))
        raise QpertError(
            f"these are not the language head of this model: {', '.join(wrong[:6])} missing or of another shape"
        )
    head.load_state_dict(given, strict=False)
    return head.to(words.weight)


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _same(decoder: Tensor, words: Tensor) -> bool:
    return torch.allclose(decoder.to(words), words, atol=1e-3)
