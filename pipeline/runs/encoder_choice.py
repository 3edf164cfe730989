"""Which encoder the actors of a run load, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.cluster.pools import Need
from pipeline.encoders import (
    check_encoder,
    encoder_spec,
    load_encoder,
    prepare_environment,
    resolve_weights,
    runtime_env,
)
from pipeline.features.fingerprint import weights_identity

if TYPE_CHECKING:
    from pipeline.stages.encode import EncoderBuilder


@dataclass(frozen=True)
class EncoderChoice:
    """An encoder by its name and weights (`EncoderChoice.of`), or one that a program brings along.

    Attributes:
        build: called in each actor.
        identity: name and weights, as the manifest has them.
        values: numbers in a photo's embedding; 0 if unknown.
        need: from a dtype to the bytes that the model takes; None where it fits anywhere.
        registered: the name among `list_encoders()`; None for an encoder that is not registered.
        sites: cross-attentions that objects can perturb; None if unknown.
        weights: of a registered encoder, as `load_encoder` takes them.
    """

    build: EncoderBuilder
    identity: dict[str, Any]
    values: int = 0
    need: Need | None = None
    registered: str | None = None
    sites: int | None = None
    weights: str | None = None

    @classmethod
    def of(cls, name: str, weights: str | None, image_size: int | None = None) -> EncoderChoice:
        """Chooses a registered encoder, with the weights and the resolution that `load_encoder` takes.

        Raises:
            QpertError: there is no such encoder, or no such weights, as far as that shows without loading them.
        """
        check_encoder(name, weights)
        spec = encoder_spec(name, weights, image_size)
        return cls(
            build=partial(load_encoder, name, weights=weights, image_size=image_size),
            identity={"name": name, "weights": weights_identity(resolve_weights(name, weights))},
            values=spec.embedding_values,
            need=spec.memory,
            registered=name,
            sites=spec.sites,
            weights=weights,
        )

    def prepare(self, *, runs_here: bool) -> None:
        """Makes what the actors need on this machine, where it is missing: environment and downloaded weights.

        Args:
            runs_here: the actors run on this machine. On a cluster each node downloads the weights itself.

        Raises:
            QpertError: they cannot be had here.
        """
        if self.registered is None:
            return
        prepare_environment(self.registered)
        if runs_here and self.weights == resolve_weights(self.registered, self.weights):  # not bundled
            from pipeline.runs.download import show_download  # imports the hub's library

            show_download(self.registered, self.weights)

    @property
    def environment(self) -> dict[str, Any] | None:
        """Ray's runtime environment of its actors; None: the driver's own."""
        return None if self.registered is None else runtime_env(self.registered)
