"""`python lavis_reference.py FOLDER`, in LAVIS' environment: writes a tiny checkpoint and LAVIS' results with it.

`plain.pt` holds what LAVIS' own, unchanged methods return; `lavis.pt` what the encoder `blip2-lavis` returns, plain and
perturbed, for the settings in `cases.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.encoders.blip2.lavis_checkpoint import Sizes
from pipeline.encoders.blip2_lavis import environment as lavis_environment
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "small", "red", "star", "dog", "on", "the", "beach", "two"]
SIZES = Sizes(
    image_size=56, patch=14, vision_width=24, vision_layers=2, vision_heads=2, vision_mlp=104, width=32, layers=4,
    heads=2, mlp=48, cross_frequency=2, vocabulary=len(WORDS) + 1, positions=64, queries=6, dim=16,
)  # fmt: skip


def write_checkpoint(folder: Path) -> Any:
    """A LAVIS model with random weights in `folder`/tiny.pth, as LAVIS' runner saves one; returns the model."""
    from pipeline.encoders.blip2_lavis.encoder import _build

    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tiny.pth.json").write_text(json.dumps({"vision_heads": 2, "heads": 2}))
    torch.manual_seed(0)
    model = _build(SIZES, folder).eval()
    for name, parameter in model.named_parameters():
        strong = ".crossattention." in name and ".bias" not in name  # so that objects change captions
        torch.nn.init.normal_(parameter, std=0.8 if strong else 0.3 if parameter.ndim > 1 else 0.5)
        if "position_embeddings" in name:
            torch.nn.init.normal_(parameter, std=1.5)  # so that captions do not repeat one word
        if name.endswith("LayerNorm.weight") or ".norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    head = model.Qformer.cls.predictions
    head.decoder.bias.data[[0, 1, 2, 4, len(WORDS)]] -= 30
    torch.save({"model": model.state_dict(), "config": {"run": {}}, "epoch": 1}, folder / "tiny.pth")
    return model


@torch.no_grad()
def lavis_itself(model: Any, pixels: torch.Tensor, texts: list[str]) -> dict[str, Any]:
    """Results of LAVIS' own methods."""
    photos = model.extract_features({"image": pixels}, mode="image")
    words = model.extract_features({"image": pixels, "text_input": texts}, mode="text")
    tokens = model.ln_vision(model.visual_encoder(pixels))
    read = model.tokenizer(texts, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    many = torch.randn(8, *pixels.shape[1:], generator=torch.Generator().manual_seed(2))
    bias = model.Qformer.cls.predictions.decoder.bias
    return {
        "many": many,
        "many_captions": captions_of(lambda beams: model.generate({"image": many}, num_beams=beams), bias),
        "tokens": tokens,
        "image": photos.image_embeds_proj,
        "text": words.text_embeds_proj[:, 0],
        "match": model.compute_itm(tokens, read.input_ids, read.attention_mask),
        "captions": {beams: model.generate({"image": pixels}, num_beams=beams) for beams in (1, 3)},
    }


ENDS = (-1.0, 0.5, 1.2, 2.0)
"""Added to the logit of the end token, so that captions end at all lengths."""


def captions_of(write: Any, bias: torch.Tensor) -> list[list[str]]:
    """Captions with one to five beams and each of `ENDS`; `bias` is the language head's."""
    found = []
    for end in ENDS:
        bias[3] += end
        found += [write(beams) for beams in (1, 2, 3, 5)]
        bias[3] -= end
    return found


def all_of(
    encoder: Any, pixels: torch.Tensor, texts: list[str], cases: list[dict[str, Any]], objects: list[Objects]
) -> Any:
    """An encoder's results for every case; a case is the fields of a `Perturbation`, or empty for plain."""
    tokens = encoder.backbone(pixels)
    found = []
    for case in cases:
        setting = Perturbation(**case | {"stages": tuple(case["stages"])}) if case else None
        given = (objects, setting)
        found.append(
            {
                "image": encoder.embed(tokens, *given),
                "match": encoder.match(tokens, texts, *given),
                "match_many": encoder.match(tokens, [*texts, *texts[::-1]], *given),
                "captions": {beams: encoder.caption(tokens, *given, num_beams=beams) for beams in (1, 3)},
            }
        )
    return {"tokens": tokens, "text": encoder.embed_text(texts), "cases": found}


def objects_of(boxes: list[list[list[float]]]) -> list[Objects]:
    """Objects of each photo from boxes (0..1)."""
    return [Objects(photo, [""] * len(photo), [1.0] * len(photo), (640, 480)) for photo in boxes]


def main(folder: Path) -> None:
    """Write the checkpoint and both results."""
    torch.set_num_threads(1)
    lavis_environment.activate()
    from pipeline.encoders import load_encoder

    given = json.loads((folder / "cases.json").read_text())
    pixels, texts = torch.tensor(given["pixels"]), given["texts"]
    model = write_checkpoint(folder)
    torch.save(lavis_itself(model, pixels, texts), folder / "plain.pt")
    encoder = load_encoder("blip2-lavis", weights=str(folder / "tiny.pth"))
    names = list(encoder.sites())
    result = all_of(encoder, pixels, texts, given["cases"], objects_of(given["boxes"]))
    torch.save(result | {"sites": names}, folder / "lavis.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
