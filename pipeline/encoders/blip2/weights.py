"""Loading BLIP-2: from a hub id, a folder in transformers' form, or LAVIS' `.pth` files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertTokenizer, Blip2Config, Blip2ForImageTextRetrieval
from transformers.initialization import no_init_weights

from pipeline.encoders.blip2.beam_search import Decoding
from pipeline.encoders.blip2.config import read_blip2_config, read_decoding
from pipeline.encoders.blip2.lavis_checkpoint import (
    HEAD,
    LN_VISION_EPS,
    Sizes,
    check_files,
    read_checkpoint,
    read_state,
    to_transformers,
)
from pipeline.encoders.downloads import BLIP2_FILES
from pipeline.encoders.hub import could_not_load, fetch, is_hub_id
from pipeline.encoders.tokenizer_files import load_tokenizer
from pipeline.encoders.transformers_weights import check_weight_files, load_model
from pipeline.encoders.weight_files import UNREADABLE, check_shapes
from pipeline.errors import QpertError
from pipeline.io.model_files import check_configurations
from pipeline.io.model_weights import split_weights
from pipeline.io.tokenizer_files import check_tokenizer

HEAD_FILE = "language_head.safetensors"
BERT = "bert-base-uncased"
"""The tokenizer that BLIP-2 uses; LAVIS adds [DEC] to it."""


@dataclass(frozen=True)
class Blip2Weights:
    """The parts that `Blip2Encoder` is built from."""

    model: Blip2ForImageTextRetrieval
    tokenizer: Any
    lm_head: Mapping[str, Tensor] | None
    decoding: Decoding | None = None


def load_weights(weights: str) -> Blip2Weights:
    """Load BLIP-2 on the CPU, in float32.

    Args:
        weights: one of

            - a hub id (`Salesforce/blip2-itm-vit-g`, 224 px; `-coco`, 364 px) or a folder in that form;
            - a LAVIS checkpoint `FILE.pth` with its vision tower in it, or added as `FILE.pth+eva_vit_g.pth`. Its
              tokenizer is in the same folder (tokenizer.json or vocab.txt), or else bert-base-uncased;
            - `FOLDER_OR_ID+FILE.pth`: the former with the language head of the latter, for captions.

    Raises:
        QpertError: with what to do, if anything is missing, unknown, or of another size.
    """
    check_weights(weights)
    first, second = split_weights(weights)
    return _from_lavis(Path(first), second) if first.endswith(".pth") else _from_transformers(first, second)


def check_weights(weights: str) -> None:
    """Refuse files and folders that are missing or incomplete; the hub is not asked."""
    check_files(weights)
    first, _ = split_weights(weights)
    if Path(first).is_dir():
        _check_folder(Path(first))
    elif not first.endswith(".pth") and not is_hub_id(first):
        raise QpertError(
            f"{first!r} is not a folder, a .pth file or a hub id; give 'miniature', a folder, a LAVIS checkpoint, or an"
            " id such as Salesforce/blip2-itm-vit-g-coco"
        )


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is incomplete, or one of whose files leads to code."""
    if not (folder / "config.json").is_file():
        raise QpertError(f"{folder} has no config.json: a BLIP-2 folder holds it beside its weights")
    try:
        check_configurations(folder)
        read_blip2_config(folder / "config.json")
        check_tokenizer(folder)
        check_weight_files(folder)
    except UNREADABLE as error:
        raise could_not_load("BLIP-2", str(folder), error) from error


def _from_transformers(name: str, lavis: str | None) -> Blip2Weights:
    folder = Path(name)
    if not folder.is_dir():
        folder = fetch(name, BLIP2_FILES, "BLIP-2")
        _check_folder(folder)
    try:
        model = load_model(
            Blip2ForImageTextRetrieval,
            folder,
            read_blip2_config(folder / "config.json"),
            torch.float32,
            f"{name} is not a whole BLIP-2 for retrieval",
            "; stage-2 models (opt, flan-t5) cannot be used",
        )
        tokenizer = load_tokenizer(folder)
        decoding = read_decoding(folder / "generation_config.json")
    except UNREADABLE as error:
        raise could_not_load("BLIP-2", name, error) from error
    head_file = folder / HEAD_FILE
    head: Mapping[str, Tensor] | None = None
    if lavis is not None:
        head = {key: value for key, value in read_state(Path(lavis)).items() if key.startswith(HEAD)}
        if not head:
            raise QpertError(f"{lavis} holds no language head ({HEAD}*)")
    elif head_file.is_file():
        try:
            head = load_file(head_file)
        except UNREADABLE as error:
            raise QpertError(f"{head_file} cannot be opened: {error}") from error
    _check_vocabulary(tokenizer, model.embeddings.word_embeddings.num_embeddings, name)
    return Blip2Weights(model, tokenizer, head, decoding)


def _check_vocabulary(tokenizer: Any, words: int, place: str) -> None:
    """Refuse a tokenizer of another vocabulary: transformers makes an empty one if its files are missing."""
    special = (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    begin = tokenizer.bos_token_id
    # BERT's words alone, with LAVIS' [DEC] appended, or also with the image token of later processors.
    fits = None not in special and words - 1 <= len(tokenizer) <= words + 1 and begin in (None, words - 1)
    if not fits:
        raise QpertError(
            f"the tokenizer of {place} has {len(tokenizer):,} words, but the model {words:,}: put the model's own there"
            " (tokenizer.json or vocab.txt)"
        )


def _from_lavis(path: Path, vision: str | None) -> Blip2Weights:
    lavis = read_checkpoint(path, Path(vision) if vision else None)
    sizes = Sizes.of(lavis, path)
    state, head = to_transformers(lavis)
    with no_init_weights():
        model = Blip2ForImageTextRetrieval(_config(sizes))
    needed, given = ({name: value.shape for name, value in weights.items()} for weights in (model.state_dict(), state))
    check_shapes(needed, given, f"{path} is not a whole BLIP-2")
    model.load_state_dict(state)
    model.vision_model.post_layernorm.eps = LN_VISION_EPS
    tokenizer = _bert_tokenizer(path.parent)
    _check_vocabulary(tokenizer, sizes.vocabulary, str(path.parent))
    return Blip2Weights(model, tokenizer, head or None)


def _config(sizes: Sizes) -> Blip2Config:
    return Blip2Config(
        vision_config={
            "image_size": sizes.image_size,
            "patch_size": sizes.patch,
            "hidden_size": sizes.vision_width,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": sizes.vision_heads,
            "intermediate_size": sizes.vision_mlp,
        },
        qformer_config={
            "vocab_size": sizes.vocabulary,
            "hidden_size": sizes.width,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "intermediate_size": sizes.mlp,
            "max_position_embeddings": sizes.positions,
            "cross_attention_frequency": sizes.cross_frequency,
            "encoder_hidden_size": sizes.vision_width,
            "use_qformer_text_input": True,
        },
        num_query_tokens=sizes.queries,
        image_text_hidden_size=sizes.dim,
    )


def _bert_tokenizer(folder: Path) -> Any:
    """BERT's words with LAVIS' [DEC] appended."""
    local = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    try:
        if local:
            check_tokenizer(folder)
        return BertTokenizer.from_pretrained(str(folder) if local else BERT, bos_token="[DEC]")
    except (OSError, ValueError) as error:
        raise QpertError(
            f"the tokenizer {BERT} could not be loaded; without a network, put its tokenizer.json or vocab.txt into"
            f" {folder}"
        ) from error
