"""A BLIP-2 of transformers' own classes, small enough for any test, and a naive reference of its perturbed pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BertTokenizer, Blip2Config, Blip2ForImageTextRetrieval

from pipeline.method.objects import Objects

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "small", "red", "star", "dog", "on", "the", "beach", "two"]
BEGIN, END = len(WORDS), WORDS.index("[SEP]")


def build(**vision: Any) -> Blip2ForImageTextRetrieval:
    torch.manual_seed(0)
    config = Blip2Config(
        vision_config={
            "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 56, "patch_size": 14, "initializer_range": 0.3, **vision,
        },
        qformer_config={
            "vocab_size": len(WORDS) + 1, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
            "intermediate_size": 48, "max_position_embeddings": 40, "initializer_range": 0.3,
            "use_qformer_text_input": True,
        },
        num_query_tokens=6,
        image_text_hidden_size=16,
        initializer_range=0.3,
    )  # fmt: skip
    model = Blip2ForImageTextRetrieval(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def head_state(model: Blip2ForImageTextRetrieval, prefix: str = "") -> dict[str, Tensor]:
    torch.manual_seed(1)
    words, width = model.embeddings.word_embeddings.weight.shape
    state = {
        "transform.dense.weight": torch.randn(width, width) / 4,
        "transform.dense.bias": torch.randn(width) / 4,
        "transform.LayerNorm.weight": torch.rand(width) + 0.5,
        "transform.LayerNorm.bias": torch.randn(width) / 4,
        "decoder.bias": torch.randn(words) / 2,
        "bias": torch.randn(words - 1),
    }
    state["decoder.bias"][:3] -= 20  # no [PAD], [UNK], [CLS], [MASK] or [DEC] in a caption
    state["decoder.bias"][[4, words - 1]] -= 20
    return {prefix + name: value for name, value in state.items()}


def tokenizer(folder: Path) -> BertTokenizer:
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return BertTokenizer.from_pretrained(folder, bos_token="[DEC]")


def write_folder(folder: Path) -> str:
    """A folder in transformers' form, as `save_pretrained` leaves it, with a language head beside it."""
    model = build()
    model.save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    save_file(head_state(model), folder / "language_head.safetensors")
    return str(folder)


def some_objects() -> list[Objects]:
    """Three photos: two objects on the grid's lines, none, and one that covers parts of patches."""
    size = (640, 480)
    return [
        Objects([[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], ["dog", "star"], [1, 1], size),
        Objects.empty(size),
        Objects([[0.3, 0.1, 0.9, 0.8]], ["dog"], [1], size),
    ]


@contextmanager
def perturbed_naively(
    qformer: nn.Module, masks: Sequence[np.ndarray], alphas: Sequence[np.ndarray], threshold: float, repeat: int = 1
) -> Any:
    """Algorithm 1.1 by photo, head and object in float64, on the outputs of `query`.

    Args:
        qformer: with the query tokens first in every pass.
        masks: for each photo [objects, N].
        alphas: for each photo [objects].
        threshold: contribution ratio.
        repeat: passes per photo that stand behind each other in the batch.
    """
    hooks = []
    for name, site in qformer.named_modules():
        if name.endswith("crossattention.attention"):
            hooks += _hook(site, masks, alphas, threshold, repeat)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(site: Any, masks: Any, alphas: Any, threshold: float, repeat: int) -> list[Any]:
    keys: list[Tensor] = []

    def see(_: Any, args: Any, kwargs: Any) -> None:
        states = kwargs["encoder_hidden_states"]
        keys[:] = [nn.functional.linear(states, site.key.weight, site.key.bias).detach()]

    def change(_: Any, args: Any, queries: Tensor) -> Tensor:
        result = queries.detach().double().numpy().copy()
        width = site.attention_head_size
        for row in range(len(result)):
            photo = row // repeat
            for head in range(site.num_attention_heads):
                part = slice(head * width, (head + 1) * width)
                key = keys[0][row if len(keys[0]) == len(result) else photo].double().numpy()[:, part]
                query, extra = result[row, :, part].copy(), 0
                for mask, alpha in zip(masks[photo], alphas[photo], strict=True):
                    of_object = key * mask[:, None]
                    values, vectors = np.linalg.eigh(of_object.T @ of_object)
                    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
                    keep = np.cumsum(values) / values.sum() <= threshold + 1e-6
                    keep[0] = True
                    basis = vectors[:, keep & (values > 1e-6 * values[0])]
                    extra = extra + alpha * query @ basis @ basis.T
                result[row, :, part] = query + extra
        return torch.from_numpy(result).to(queries)

    return [site.register_forward_pre_hook(see, with_kwargs=True), site.query.register_forward_hook(change)]


def counting(module: nn.Module) -> Callable[[], int]:
    """How often `module` was called."""
    calls = [0]
    module.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    return lambda: calls[0]
