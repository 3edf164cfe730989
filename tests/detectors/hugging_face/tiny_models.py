"""Tiny random detectors of transformers' real classes, saved to folders as published ones are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

NAMES = {0: "dog", 1: "red kite", 2: "person"}
"""Classes of the models of fixed classes."""
WORDS = ("dog", "red", "kite", "person", "detect", "a", "photo", "of", ",")
"""Words of the tokenizers."""
CLIP_LENGTH = 16


def _resnet() -> hf.RTDetrResNetConfig:
    return hf.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 3, 4]
    )


def _hgnet() -> hf.HGNetV2Config:
    return hf.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 12, 16],
        stage_mid_channels=[4, 4, 6, 8],
        stage_out_channels=[8, 12, 16, 20],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        hidden_sizes=[8, 12, 16, 20],
        depths=[1, 1, 1, 1],
        embedding_size=8,
        out_indices=[2, 3, 4],
    )


def _real_time(**more: Any) -> dict[str, Any]:
    """Sizes of the relatives of RT-DETR."""
    return {
        "encoder_hidden_dim": 16,
        "encoder_in_channels": [12, 16, 20],
        "encoder_ffn_dim": 16,
        "encoder_attention_heads": 2,
        "d_model": 16,
        "num_queries": 20,
        "decoder_in_channels": [16, 16, 16],
        "decoder_ffn_dim": 16,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "num_denoising": 0,
        "id2label": NAMES,
        **more,
    }


def _rt_detr_v2() -> tuple[Any, Any]:
    model = hf.RTDetrV2ForObjectDetection(hf.RTDetrV2Config(backbone_config=_resnet(), **_real_time()))
    return model, hf.RTDetrImageProcessor(size={"height": 64, "width": 64})


def _d_fine() -> tuple[Any, Any]:
    model = hf.DFineForObjectDetection(hf.DFineConfig(backbone_config=_hgnet(), **_real_time()))
    return model, hf.RTDetrImageProcessor(size={"height": 64, "width": 64})


def _deimv2() -> tuple[Any, Any]:
    model = hf.Deimv2ForObjectDetection(hf.Deimv2Config(backbone_config=_hgnet(), **_real_time()))
    return model, hf.RTDetrImageProcessor(size={"height": 64, "width": 64})


def _rf_detr() -> tuple[Any, Any]:
    backbone = hf.RfDetrDinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=8,
        num_windows=2,
        out_indices=[1, 2],
    )
    config = hf.RfDetrConfig(
        backbone_config=backbone,
        d_model=16,
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=20,
        group_detr=2,
        c2f_num_blocks=1,
        id2label=NAMES,
    )
    return hf.RfDetrForObjectDetection(config), hf.RfDetrImageProcessor(size={"height": 64, "width": 64})


def _lw_detr() -> tuple[Any, Any]:
    backbone = hf.LwDetrViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        pretrain_image_size=64,
        patch_size=8,
        num_windows=4,
        window_block_indices=[0],
        out_indices=[1, 2],
    )
    config = hf.LwDetrConfig(
        backbone_config=backbone,
        projector_scale_factors=[1.0],
        d_model=16,
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=20,
        group_detr=2,
        c2f_num_blocks=1,
        id2label=NAMES,
    )
    return hf.LwDetrForObjectDetection(config), hf.DeformableDetrImageProcessor(size={"height": 64, "width": 64})


def _detr() -> tuple[Any, Any]:
    """With a backbone of timm; keeps the photos' aspect ratio, so that a batch of the library's own is padded."""
    config = hf.DetrConfig(
        use_timm_backbone=True,
        backbone="test_resnet",
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=20,
        id2label=NAMES,
    )
    processor = hf.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 160})
    return hf.DetrForObjectDetection(config), processor


def _swin() -> hf.SwinConfig:
    return hf.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_indices=[2, 3, 4],
    )


def _bert_tokenizer(folder: Path) -> Any:
    """BERT's words, with the special tokens at the numbers that Grounding DINO looks for."""
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    words = [special.get(number, f"[unused{number}]") for number in range(1030)] + [*WORDS, "##s"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    return hf.BertTokenizer(vocab={word: number for number, word in enumerate(words)})


def _grounding_dino(kind: str = "GroundingDino") -> Callable[[Path], tuple[Any, Any]]:
    def build(folder: Path) -> tuple[Any, Any]:
        tokenizer = _bert_tokenizer(folder)
        config = getattr(hf, f"{kind}Config")(
            backbone_config=_swin(),
            text_config=hf.BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=64,
            ),
            num_queries=20,
            encoder_layers=2,
            encoder_ffn_dim=16,
            encoder_attention_heads=2,
            decoder_layers=2,
            decoder_ffn_dim=16,
            decoder_attention_heads=2,
            d_model=64,
            max_text_len=24,
        )
        images = hf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 100})
        return getattr(hf, f"{kind}ForObjectDetection")(config), hf.GroundingDinoProcessor(images, tokenizer)

    return build


def _clip_tokenizer(folder: Path, length: int) -> Any:
    """Whole words between the marks of CLIP; the end has the highest number, by which the models find it."""
    words = {word: number for number, word in enumerate(["!", *WORDS, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="!"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    begin, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, words[begin]), (end, words[end])]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=end,
        unk_token="!",
        pad_token="!",
        model_max_length=length,
    )


def _text_sizes(length: int, width: int = 16) -> dict[str, Any]:
    return {
        "vocab_size": len(WORDS) + 3,
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": length,
        "bos_token_id": len(WORDS) + 1,
        "eos_token_id": len(WORDS) + 2,
        "pad_token_id": 0,
    }


def _omdet(folder: Path) -> tuple[Any, Any]:
    config = hf.OmDetTurboConfig(
        backbone_config=_swin(),
        text_config=hf.CLIPTextConfig(**_text_sizes(77, width=24)),
        image_size=64,
        text_projection_in_dim=24,
        text_projection_out_dim=24,
        task_encoder_hidden_dim=16,
        class_embed_dim=24,
        num_queries=20,
        vision_features_channels=[16, 16, 16],
        encoder_in_channels=[16, 32, 64],
        apply_layernorm_after_vision_backbone=False,
        encoder_hidden_dim=16,
        encoder_attention_heads=2,
        encoder_dim_feedforward=16,
        decoder_hidden_dim=16,
        decoder_num_heads=2,
        decoder_num_layers=2,
        decoder_dim_feedforward=16,
        cache_size=2,
    )
    images = hf.DetrImageProcessor(size={"height": 64, "width": 64})
    return hf.OmDetTurboForObjectDetection(config), hf.OmDetTurboProcessor(images, _clip_tokenizer(folder, 77))


def _owl(kind: str) -> Callable[[Path], tuple[Any, Any]]:
    def build(folder: Path) -> tuple[Any, Any]:
        vision = {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        }
        config = getattr(hf, f"{kind}Config")(
            text_config=_text_sizes(CLIP_LENGTH), vision_config=vision, projection_dim=16
        )
        images = getattr(hf, f"{kind}ImageProcessor")(size={"height": 64, "width": 64})
        model = getattr(hf, f"{kind}ForObjectDetection")(config)
        return model, getattr(hf, f"{kind}Processor")(images, _clip_tokenizer(folder, CLIP_LENGTH))

    return build


FIXED: dict[str, Callable[[], tuple[Any, Any]]] = {
    "rt_detr_v2": _rt_detr_v2,
    "d_fine": _d_fine,
    "rf_detr": _rf_detr,
    "deimv2": _deimv2,
    "lw_detr": _lw_detr,
    "detr": _detr,
}
"""Builders of model and image processor, by model type."""
OPEN: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "grounding-dino": _grounding_dino(),
    "mm-grounding-dino": _grounding_dino("MMGroundingDino"),
    "omdet-turbo": _omdet,
    "owlv2": _owl("Owlv2"),
    "owlvit": _owl("OwlViT"),
}
"""Builders of model and processor of open vocabularies."""


def save_tiny(kind: str, folder: Path) -> Path:
    """Saves a tiny model of `kind` to `folder`, which is returned."""
    torch.manual_seed(5)
    model, processor = FIXED[kind]() if kind in FIXED else OPEN[kind](folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # as made, the photo would make no difference to the boxes
            if weight.ndim > 1 and kind in ("owlv2", "owlvit"):
                weight.add_(0.15 * torch.randn_like(weight))
            elif weight.ndim > 1:
                gain = 1.2 if kind == "d_fine" else 0.6
                weight.add_(gain * torch.nn.init.kaiming_normal_(torch.empty_like(weight)))
            elif "bias" in name:
                weight.add_(0.2 * torch.randn_like(weight))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == kind
    return folder
