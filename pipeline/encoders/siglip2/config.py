"""The keys of a SigLIP folder's configurations that are read; transformers is given these and reads no file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from transformers import Siglip2Config, SiglipConfig

from pipeline.errors import QpertError
from pipeline.io.model_files import Activation, Count, Number, Plain, Size, read_json

MOST_PATCHES = 16384
"""Of a photo, with NaFlex."""
Rate = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Number, Field(gt=0)]
Channels = tuple[Number, Number, Number]
Deviations = tuple[Positive, Positive, Positive]


class _Known(Plain):
    """Keys without a field are ignored."""

    model_config = ConfigDict(extra="ignore")


class _Tower(_Known):
    """What both towers have."""

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 12
    hidden_act: Activation = "gelu_pytorch_tanh"
    layer_norm_eps: Number = 1e-6
    attention_dropout: Rate = 0.0

    @model_validator(mode="after")
    def _check_heads(self) -> _Tower:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not divide {self.hidden_size} channels")
        return self


class Text(_Tower):
    """`SiglipTextConfig` and `Siglip2TextConfig`."""

    vocab_size: Size = 32000
    max_position_embeddings: Size = 64
    projection_size: Size | None = None


class Vision(_Tower):
    """`SiglipVisionConfig`, with a square image, and `Siglip2VisionConfig`, with learned positions to be resized."""

    num_channels: Literal[3] = 3
    patch_size: Size = 16
    vision_use_head: Literal[True] = True
    image_size: Size = 224
    num_patches: Size = 256


class SiglipSizes(_Known):
    """The configuration of a model, of either kind.

    Attributes:
        model_type: `siglip2` is NaFlex; SigLIP 2 of fixed resolution is `siglip`, as the first SigLIP is.
    """

    model_type: Literal["siglip", "siglip2"]
    vision_config: Vision = Vision()
    text_config: Text = Text()

    @property
    def native(self) -> bool:
        """Whether photos keep their aspect ratio (NaFlex)."""
        return self.model_type == "siglip2"

    def for_transformers(self) -> SiglipConfig | Siglip2Config:
        """As the library's own configuration."""
        given = self.given()
        # The text tower knows no special tokens; the library's numbers lie outside of most vocabularies.
        unused = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
        given["text_config"] = {**given.get("text_config", {}), **unused}
        return (Siglip2Config if given.pop("model_type") == "siglip2" else SiglipConfig)(**given)


class _Square(_Known):
    height: Size
    width: Size


class Preprocessing(_Known):
    """How photos are prepared: what a preprocessor_config.json says, or transformers' defaults.

    Attributes:
        size: of the square input; fixed resolution only.
        max_num_patches: most patches of a photo; NaFlex only.
        patch_size: side of a patch in pixels; NaFlex only.
        resample: Pillow's number of the filter, 2 for bilinear, 3 for bicubic; None: bilinear for NaFlex, else bicubic.
        image_mean: of the three channels, 0 to 1.
        image_std: standard deviations of the three channels.
        rescale_factor: from bytes to 0..1.
    """

    size: _Square | None = None
    max_num_patches: Annotated[int, Field(strict=True, ge=1, le=MOST_PATCHES)] = 256
    patch_size: Size = 16
    resample: Literal[2, 3] | None = None
    image_mean: Channels = (0.5, 0.5, 0.5)
    image_std: Deviations = (0.5, 0.5, 0.5)
    rescale_factor: Positive = 1 / 255
    do_resize: Literal[True] = True
    do_rescale: Literal[True] = True
    do_normalize: Literal[True] = True

    def check_fits(self, vision: Any, *, native: bool) -> None:
        """Refuse preprocessing for another model.

        Args:
            vision: the configuration of the vision tower, ours or transformers'.
            native: whether the model is NaFlex.

        Raises:
            QpertError: another size of images or patches.
        """
        if native and self.patch_size != vision.patch_size:
            raise QpertError(
                f"photos are cut into patches of {self.patch_size} pixels, but this SigLIP takes {vision.patch_size}"
            )
        if not native and self.size is not None and {self.size.width, self.size.height} != {vision.image_size}:
            given = f"{self.size.width} x {self.size.height}"
            raise QpertError(f"photos are resized to {given}, but this SigLIP takes {vision.image_size} pixels")


def read_sizes(path: Path) -> SiglipSizes:
    """The configuration in a config.json.

    Raises:
        QpertError: another kind of model, a key that leads to code, or a value out of range, by name.
        OSError, ValueError: the file is missing or damaged.
    """
    return parse_sizes(read_json(path), str(path))


def parse_sizes(values: dict[str, Any], where: str) -> SiglipSizes:
    """The configuration in the values of a config.json.

    Raises:
        QpertError: see `read_sizes`.
    """
    if values.get("model_type") not in ("siglip", "siglip2"):
        raise QpertError(
            f"{where}: model_type {values.get('model_type')!r} is not siglip or siglip2; other models have encoders of"
            " their own"
        )
    return SiglipSizes.of(values, where)


def read_preprocessing(folder: Path) -> Preprocessing:
    """How photos are prepared for the model in `folder`.

    Raises:
        QpertError: preprocessing that boxes cannot follow, or a value out of range.
        OSError, ValueError: a file is damaged.
    """
    for name in ("processor_config.json", "preprocessor_config.json"):  # in the order of transformers
        path = folder / name
        values = read_json(path) if path.is_file() else {}
        if name == "processor_config.json":
            values = values.get("image_processor") or {}
        if values:
            return Preprocessing.of(values, str(path))
    return Preprocessing()
