"""The size of an encoder, known before it is loaded: what plans memory, disk and files."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import QpertError

NO_SITES = "this encoder has no cross-attention for objects to act on"
WORKING_MEMORY = 2**30
"""Bytes beside the weights: CUDA's own, and the tokens and keys of a few photos."""
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class EncoderSpec:
    """Sizes that are known without loading the weights; 0 if unknown.

    Attributes:
        parameters: of the model; all but `float32_parameters` take the dtype that is asked for.
        tokens: N, image tokens of a photo.
        width: C, numbers in an image token.
        vectors: V, embeddings of a photo.
        dim: D, length of an embedding.
        float32_parameters: those among `parameters` that stay in float32.
        sites: cross-attentions that objects can perturb; None if unknown.
    """

    parameters: int = 0
    tokens: int = 0
    width: int = 0
    vectors: int = 0
    dim: int = 0
    float32_parameters: int = 0
    sites: int | None = None

    @property
    def embedding_values(self) -> int:
        """Numbers in the embeddings of one photo."""
        return self.vectors * self.dim

    def memory(self, dtype: str) -> int:
        """Bytes that the encoder takes on its device: its weights, and `WORKING_MEMORY` to work with.

        An estimate to keep a model off devices that cannot hold it; how many photos fit beside it shows in use.

        Raises:
            QpertError: unknown dtype.
        """
        scaled = self.parameters - self.float32_parameters
        return scaled * item_bytes(dtype) + self.float32_parameters * item_bytes("float32") + WORKING_MEMORY

    def token_bytes(self, dtype: str) -> int:
        """Bytes of one photo's image tokens.

        Raises:
            QpertError: unknown dtype.
        """
        return self.tokens * self.width * item_bytes(dtype)


def item_bytes(dtype: str) -> int:
    """Bytes of one number.

    Raises:
        QpertError: unknown dtype.
    """
    if dtype not in _ITEM_BYTES:
        raise QpertError(f"unknown dtype {dtype!r}; choose one of: {', '.join(_ITEM_BYTES)}")
    return _ITEM_BYTES[dtype]
