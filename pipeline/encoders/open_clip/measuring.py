"""Sizes of open_clip's models, measured on torch's meta device: built and run once, without memory for either.

`python -m pipeline.encoders.open_clip.measuring` writes `models.json`, from which `table.py` reads them within
milliseconds: importing open_clip alone takes seconds. Run it again when open_clip has new models; a test compares both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.encoders.open_clip.table import TABLE, OpenClipModel
from pipeline.errors import first_line

_FROM_ELSEWHERE = ("hf_model_name", "hf_model_config", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type")
"""Keys of text towers whose sizes are only on the hub."""
_PUBLISHED = {
    "coca_roberta-ViT-B-32": 420_370_000,
    "mt5-base-ViT-B-32": 365_710_000,
    "mt5-xl-ViT-H-14": 2_306_750_000,
    "nllb-clip-base": 501_890_000,
    "nllb-clip-base-siglip": 507_470_000,
    "nllb-clip-large": 1_399_220_000,
    "nllb-clip-large-siglip": 1_195_500_000,
    "roberta-ViT-B-32": 212_720_000,
    "xlm-roberta-base-ViT-B-32": 366_120_000,
    "xlm-roberta-large-ViT-H-14": 1_193_010_000,
}
"""Parameters of the models with such a text tower, by docs/model_profile.csv of open_clip: to 10,000."""


def measure(config: Mapping[str, Any], name: str = "") -> OpenClipModel:
    """Sizes of the model that a configuration describes; nothing is fetched, whatever it names.

    Args:
        config: as in open_clip's model_configs, or `model_cfg` of an open_clip_config.json.
        name: of the model, for the result. If its text tower is described on the hub only, `parameters` is the
            published number, or, where that is unknown, counts a text tower of CLIP in its place.

    Raises:
        KeyError, RuntimeError, TypeError, ValueError: not such a configuration.
    """
    import open_clip

    from pipeline.encoders.open_clip.library import measure_model
    from pipeline.encoders.open_clip.towers import cut_tower

    vision = {key: value for key, value in config["vision_cfg"].items() if key != "timm_model_pretrained"}
    text = {key: value for key, value in config["text_cfg"].items() if key not in _FROM_ELSEWHERE}
    whole = len(text) == len(config["text_cfg"])
    arguments = {key: value for key, value in config.items() if key not in ("custom_text", "preprocess_cfg")}
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    if kind is open_clip.CustomTextCLIP and not (config.get("custom_text") or "timm_model_name" in vision):
        kind = open_clip.CLIP  # the same towers; the names of its text tower's weights differ
    arguments |= {"vision_cfg": vision, "text_cfg": text if whole else {}}
    side = vision["image_size"] if isinstance(vision["image_size"], int) else vision["image_size"][0]
    with torch.device("meta"), torch.no_grad():
        model = kind(**arguments).eval().requires_grad_(False)
        sizes, tower = measure_model(model), cut_tower(model.visual)
        with FlopCounterMode(display=False) as counter:
            tower.pool(tower.backbone(torch.zeros(1, 3, side, side)))
    heads = [int(site.num_heads) for site in cast("Iterable[Any]", tower.sites.values())]
    return OpenClipModel(
        name=name,
        sites=len(heads),
        heads=sum(heads),
        image_size=side,
        tokens=sizes.tokens,
        width=sizes.width,
        dim=sizes.dim,
        parameters=sizes.parameters if whole else _PUBLISHED.get(name, sizes.parameters),
        gigaflops=round(counter.get_total_flops() / 1e9, 2),
    )


def measure_all() -> dict[str, OpenClipModel]:
    """Every model that the installed open_clip has a configuration for, with its weights; a minute or two."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    models = {}
    for name in sorted(open_clip.list_models(), key=str.casefold):
        tags = open_clip.list_pretrained_tags_by_model(name)
        weights = {tag: get_pretrained_cfg(name, tag).get("hf_hub", "").rstrip("/") for tag in tags}
        try:
            models[name] = measure(open_clip.get_model_config(name), name).with_weights(weights)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            print(f"{name} is left out: {first_line(error)}")
    return models


def main() -> None:
    """Write the table."""
    from importlib.metadata import version

    rows = ",\n".join(f'    "{name}": {json.dumps(model.as_row())}' for name, model in measure_all().items())
    head = f'{{\n  "open_clip": "{version("open_clip_torch")}",\n  "models": {{\n'
    TABLE.write_text(f"{head}{rows}\n  }}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
