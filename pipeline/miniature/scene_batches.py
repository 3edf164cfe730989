"""Training data of the miniature encoders: fresh scenes with captions, and the objects under each image token."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from pipeline.datasets.scenes import COLOURS, SCENE_SIZE, SHAPES, Scene, draw_scene, make_captions, make_scene
from pipeline.method.objects import Objects, TokenGrid, token_coverage

LABELS = (*SHAPES, *COLOURS)


class SceneBatches(IterableDataset[dict[str, Tensor]]):
    """Batches of fresh `natural` scenes: pixels, two captions each, shapes and colours under each token.

    Args:
        seed: of the series of scenes.
        steps: number of batches.
        batch: scenes per batch.
        preprocess: from a picture to the model's pixels.
        tokenizer: of the captions.
        grid: the model's image tokens.
    """

    def __init__(
        self,
        seed: int,
        steps: int,
        batch: int,
        preprocess: Callable[[Image.Image], Tensor],
        tokenizer: Tokenizer,
        grid: TokenGrid,
    ) -> None:
        self.seed, self.steps, self.batch, self.preprocess = seed, steps, batch, preprocess
        self.tokenizer, self.grid = tokenizer, grid

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        for step in range(self.steps):
            scenes = [make_scene(self.seed, step * self.batch + i, "natural") for i in range(self.batch)]
            captions = [make_captions(scene) for scene in scenes]
            # Two different captions of each scene: the first of every scene, then the second of every scene.
            texts = [five[(step + i) % 5].text for i, five in enumerate(captions)]
            texts += [five[(step + i + 1 + i % 4) % 5].text for i, five in enumerate(captions)]
            yield {
                "pixels": torch.stack([self.preprocess(draw_scene(scene)) for scene in scenes]),
                "text": torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)]),
                "patches": torch.stack([patch_labels(scene, self.grid) for scene in scenes]),
            }

    def loader(self) -> DataLoader[dict[str, Tensor]]:
        """The batches, made by another process."""
        return DataLoader(self, batch_size=None, num_workers=1, prefetch_factor=4)


def patch_labels(scene: Scene, grid: TokenGrid) -> Tensor:
    """Shapes and colours under each patch: float [patches, LABELS].

    1 where an object covers a quarter of the patch, or has a quarter of itself on it.
    """
    boxes = torch.tensor([o.box for o in scene.objects], dtype=torch.float32) / SCENE_SIZE
    objects = Objects(boxes, ["" for _ in scene.objects], [1.0 for _ in scene.objects], (SCENE_SIZE, SCENE_SIZE))
    cover = token_coverage(objects, grid)[:, grid.prefix :]
    present = (cover >= 0.25) | (cover >= 0.25 * cover.sum(1, keepdim=True))
    labels = torch.zeros(cover.shape[1], len(LABELS))
    for thing, where in zip(scene.objects, present, strict=True):
        labels[where, LABELS.index(thing.shape)] = 1
        labels[where, LABELS.index(thing.colour)] = 1
    return labels
