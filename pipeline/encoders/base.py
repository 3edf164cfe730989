"""The contract of every encoder: stages, search and evaluation use it without knowing the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.encoders.reading import Reading
from pipeline.encoders.sites import choose_sites, perturbing, remembering
from pipeline.encoders.spec import NO_SITES, EncoderSpec
from pipeline.errors import QpertError
from pipeline.method.acting_boxes import acting_objects
from pipeline.method.artefacts import artefact_tokens, patch_tokens
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.objects import Grid, Objects, batch_coverage
from pipeline.method.operator import object_operator, object_subspaces, subspace_kind
from pipeline.method.settings import Perturbation, Stage
from pipeline.method.subspaces import Subspaces


class Encoder(ABC):
    """An image-text encoder with cross-attentions that objects can perturb.

    Photos pass in two steps: `backbone`, which is expensive and object-agnostic, and `embed`, which is cheap and may be
    called again on the same tokens with other objects or another perturbation. With no objects the result is that of
    the untouched model. An encoder serves one thread at a time.

    Attributes:
        name: the name it is registered under.
        title: the model's own name, for messages.
        tokenizer: from texts to token ids; None: texts are given as ids.
        grid: how a photo is cut into tokens.
        vectors: V, embeddings per photo. A text's score for a photo is the largest of its V cosines.
        dim: D, length of an embedding.
        device: where the model is; arguments may be on any device.
        dtype: of the model; embeddings are always float32.
    """

    name: str
    title: str
    tokenizer: Any = None
    grid: Grid
    vectors: int
    dim: int
    device: torch.device
    dtype: torch.dtype
    _subspaces: dict[tuple[object, ...], list[Subspaces]] | None = None
    """Inside `embed_each`: by site and `subspace_kind`."""

    @classmethod
    @abstractmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> Encoder:
        """Load from `weights`, as `load_encoder` resolves them.

        Raises:
            QpertError: with what to do, if the weights are unknown, missing, out of reach or do not fit.
        """

    @classmethod  # noqa: B027 - an encoder may have nothing to check
    def check_weights(cls, weights: str) -> None:
        """Raise QpertError where it shows without loading that there are no such weights."""

    @classmethod
    def spec(cls, weights: str) -> EncoderSpec:
        """Sizes of the model in `weights`, without loading it.

        Where the weights do not show them, those of the largest published model; zeros for an encoder that every
        device holds.
        """
        return EncoderSpec()

    @classmethod
    def resolution(cls, weights: str) -> tuple[int, int] | None:
        """Sides of the square input and of a patch in pixels, without loading the model; None if that would show them.

        For a model that keeps the photo's shape (NaFlex) the first is 0.
        """
        return None

    def resize(self, image_size: int) -> None:
        """Take photos at another resolution from now on, with the positions of the patches interpolated.

        At the model's own resolution nothing changes. Texts are not affected.

        Args:
            image_size: side of the square input in pixels; for a model that keeps the photo's shape (NaFlex), the side
                of a square photo with as many patches as a photo may have.

        Raises:
            QpertError: the model's positions cannot be interpolated, or the size is no multiple of its patches.
        """
        raise QpertError(f"the encoder {self.name} takes photos at its own resolution only: leave out --image-size")

    @abstractmethod
    def preprocess(self, image: Image.Image) -> Tensor:
        """A photo as the model takes it: float32 on the CPU, of the same shape for every photo.

        That is [3, S, S], S = `grid.image_size`, unless the encoder states another.
        """

    @abstractmethod
    def backbone(self, pixels: Tensor) -> Tensor:
        """Image tokens [B, N, C] of preprocessed photos [B, ...]; N = `grid.tokens`, in the model's dtype.

        Tokens that pad a photo's sequence are exactly zero, and no others are: this is how `embed` knows them.
        """

    @abstractmethod
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, V, D] of photos.

        Args:
            tokens: [B, N, C] from `backbone`.
            objects: one `Objects` per photo.
            perturbation: how objects act on the queries. Without it, without objects, or if its stages do not include
                `itc`, the embeddings are the untouched model's.
        """

    def embed_each(
        self, tokens: Tensor, objects: Sequence[Objects], settings: Sequence[Perturbation | None]
    ) -> list[Tensor]:
        """`embed` under each of `settings` (None: plain), bit for bit the same and cheaper than calling it for each.

        Keys, values and eigendecompositions depend only on the photos and their objects, and are computed once.
        """
        if len(settings) == 1:
            return [self.embed(tokens, objects, settings[0])]
        self._subspaces = {}
        try:
            with remembering(self.sites()):
                return [self.embed(tokens, objects, setting) for setting in settings]
        finally:
            self._subspaces = None

    @abstractmethod
    def embed_text(
        self,
        texts: Sequence[str] | None = None,
        *,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Unit vectors float32 [T, D] of texts, given as strings or as token ids [T, L] (and mask, 1 = keep)."""

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """Which texts are longer than the model reads, and which hold no word that it knows; None if unknown.

        Encoders with a tokenizer override this.
        """
        return None

    def match(
        self,
        tokens: Tensor,
        texts: Sequence[str] | None = None,
        objects: Sequence[Objects] | None = None,
        perturbation: Perturbation | None = None,
        *,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Image-text matching scores float32 [T], the higher the better, for encoders with a matching head.

        Args:
            tokens: [B, N, C] from `backbone`.
            texts: T of them, or one for all photos. Each photo is matched with T / B consecutive texts: with T = B they
                are pairs, and a single photo is matched with all.
            objects: one `Objects` per photo.
            perturbation: acts where its stages include `itm`.
            input_ids: int64 [T, L] instead of texts.
            attention_mask: [T, L], 1 = keep.

        Raises:
            QpertError: this encoder has no matching head.
        """
        raise QpertError(f"the encoder {self.name} has no image-text matching: BLIP-2 has")

    def caption(
        self,
        tokens: Tensor,
        objects: Sequence[Objects] | None = None,
        perturbation: Perturbation | None = None,
        **decoding: Any,
    ) -> list[str]:
        """A caption of each photo, for encoders that write; `perturbation` acts where its stages include `lm`.

        Raises:
            QpertError: this encoder writes no captions.
        """
        raise QpertError(f"the encoder {self.name} writes no captions: BLIP-2 does")

    @abstractmethod
    def sites(self) -> Mapping[str, nn.Module]:
        """The perturbable cross-attentions by name, in the order they run."""

    def given_texts(self, texts: Sequence[str] | None, input_ids: Tensor | None) -> list[str] | None:
        """Texts to tokenize, as a list; None where `input_ids` are given instead.

        Raises:
            QpertError: both or neither are given, or texts without a tokenizer.
        """
        if (texts is None) == (input_ids is None):
            raise QpertError("give either texts or input_ids")
        if texts is not None and self.tokenizer is None:
            raise QpertError(f"this {self.title} was built without a tokenizer; give input_ids instead of texts")
        return [texts] if isinstance(texts, str) else None if texts is None else list(texts)

    def perturbing(
        self, tokens: Tensor, objects: Sequence[Objects] | None, perturbation: Perturbation | None, stage: Stage
    ) -> AbstractContextManager[None]:
        """A context in which the sites see these objects; it does nothing without objects or perturbation.

        Args:
            tokens: [B, N, C] from `backbone`.
            objects: one `Objects` per photo, or None.
            perturbation: see `embed`.
            stage: what the passes inside the context are for.

        Raises:
            QpertError: not one `Objects` per photo, no boxes of other photos where these are to act, or a site that the
                encoder does not have, or it has none at all; inside the context, keys of an object that have no key
                subspace in float32.
        """
        count = len(tokens)
        if objects is not None and len(objects) != count:
            raise QpertError(f"objects must hold one Objects per photo: {len(objects)} for {count} photos")
        if objects is None or perturbation is None or stage not in perturbation.stages:
            return nullcontext()
        sites = choose_sites(self.sites(), perturbation.sites)
        if not sites:
            raise QpertError(f"{NO_SITES}: ask for plain embeddings (--perturbation none)")
        acting = [acting_objects(photo, perturbation) for photo in objects]
        coverage, areas = batch_coverage(acting, self.grid)
        counted = None if perturbation.pca == "uncentred" else patch_tokens(tokens, self.grid.prefix).to(self.device)
        if perturbation.artefacts == "drop":
            artefacts = artefact_tokens(tokens, self.grid.prefix).to(self.device)
            coverage = coverage.masked_fill(artefacts.cpu()[:, None], 0)
            counted = None if counted is None else counted & ~artefacts
        photo_keys = [photo.key for photo in objects] if perturbation.operator == "random" else None
        groups = pool_object_keys(coverage, areas, perturbation, self.device, photo_keys)
        if not groups:
            return nullcontext()
        operators: dict[str, Tensor] = {}

        def operator_of(name: str, keys: Tensor) -> Tensor:
            """Computed when a site first sees the photos' keys, for all passes inside the context."""
            if name not in operators:
                photo_keys = keys[:: len(keys) // count]  # LAVIS repeats the photos, for each beam or text
                subspaces = subspaces_of(name, photo_keys)
                operator = object_operator(photo_keys, groups, perturbation, subspaces, counted)
                if not operator.isfinite().all():
                    raise QpertError(
                        f"the keys of an object at {name} are not finite, or float32 cannot hold their Gram matrix: the"
                        f" photo cannot be perturbed in {self.dtype} with scale {perturbation.scale:g}"
                    )
                operators[name] = operator
            return operators[name]

        def subspaces_of(name: str, keys: Tensor) -> list[Subspaces] | None:
            if self._subspaces is None or perturbation.operator == "scaled":
                return None
            kind = name, *subspace_kind(perturbation)
            if kind not in self._subspaces:
                self._subspaces[kind] = object_subspaces(keys, groups, perturbation, counted)
            return self._subspaces[kind]

        return perturbing(sites, operator_of, perturbation.norm)
