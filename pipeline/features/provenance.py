"""How features were made, by their manifest: checked before it is used, because it may come from anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.io.model_weights import chosen_weights
from pipeline.method.settings import Perturbation

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
_PERTURBATION = TypeAdapter(Perturbation)


class _Identity(BaseModel):
    """The identity of the weights."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""
    digest: str | None = None


class _Encoder(BaseModel):
    """The field `encoder` of a manifest."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    weights: _Identity | None = None


class _Config(BaseModel):
    """The values of `config` that are used again."""

    model_config = ConfigDict(extra="ignore")

    dtype: Dtype | None = None
    image_size: Annotated[int, Field(ge=1, le=2**16)] | None = None
    max_megapixels: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 100.0
    allow_truncated: bool = False
    accelerators: list[str] | None = None
    patience: Annotated[float, Field(gt=0, le=10_000)] | None = None


@dataclass(frozen=True)
class MadeWith:
    """How the features of a set were made.

    Attributes:
        encoder: registered name of the encoder.
        digest: of the weights, if they were files.
        dtype: of the encoder, as requested; None if the manifest does not say.
        image_size: resolution of the photos, as requested; None for the model's own.
        max_megapixels: limit on the size of photos.
        allow_truncated: whether incomplete photos were decoded as far as possible.
        accelerators: GPU types that were named; None for every GPU.
        patience: minutes, as requested; None if the manifest does not say.
        recorded: the weights as the manifest names them, not checked: use `weights`.
        out: path or URI of the set, for messages.
    """

    encoder: str
    digest: str | None
    dtype: Dtype | None
    image_size: int | None
    max_megapixels: float
    allow_truncated: bool
    accelerators: list[str] | None
    patience: float | None
    recorded: object
    out: str

    @classmethod
    def of(cls, manifest: Manifest, out: str) -> MadeWith:
        """Read a manifest.

        Args:
            manifest: of the set.
            out: path or URI of the set, for messages.

        Raises:
            QpertError: the manifest names no encoder, or a value has another type or is out of range.
        """
        if not manifest.encoder.get("name"):
            raise QpertError(f"{out}/manifest.json names no encoder: the folder was not made by qpert index")
        try:
            encoder, config = _Encoder.model_validate(manifest.encoder), _Config.model_validate(manifest.config)
        except ValidationError as error:
            first = error.errors()[0]
            raise QpertError(
                f"{out}/manifest.json was not written by qpert index: {'.'.join(map(str, first['loc']))} cannot be"
                f" {str(first['input'])[:60]!r}"
            ) from None
        return cls(
            encoder=encoder.name,
            digest=encoder.weights.digest if encoder.weights else None,
            dtype=config.dtype,
            image_size=config.image_size,
            max_megapixels=config.max_megapixels,
            allow_truncated=config.allow_truncated,
            accelerators=config.accelerators,
            patience=config.patience,
            recorded=manifest.config.get("weights"),
            out=out,
        )

    def weights(self, given: str | None) -> str | None:
        """The weights to load, see `chosen_weights`."""
        return chosen_weights(given, self.recorded, self.out)


def perturbation_from(values: Any, out: str) -> Perturbation | None:
    """The perturbation that a manifest records.

    Args:
        values: the result of `Perturbation.as_dict`, from JSON; None for none.
        out: path or URI of the feature set, for messages.

    Raises:
        QpertError: `values` is something else.
    """
    if values is None:
        return None
    try:
        return _PERTURBATION.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise QpertError(
            f"{out}/manifest.json was not written by qpert index: identity.perturbation"
            f" {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
