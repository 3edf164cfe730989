"""What the miniature encoders learn from: endless fresh scenes with captions, and what lies under each image token."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset

from pipeline.datasets.scenes import COLOURS, SCENE_SIZE, SHAPES, Scene, draw_scene, make_captions, make_scene
from pipeline.method.objects import Objects, TokenGrid, token_coverage

LABELS = (*SHAPES, *COLOURS)


class SceneBatches(IterableDataset[dict[str, Tensor]]):
    """Endless fresh batches of `natural` scenes: pixels, two captions each, shapes and colours under each token.

    Args:
        seed: which series of scenes.
        steps: batches.
        batch: scenes per batch.
        preprocess: from a picture to the pixels that the model takes.
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
            texts = [c[(step + i) % 5].text for i, c in enumerate(captions)]
            texts += [c[(step + i + 1 + i % 4) % 5].text for i, c in enumerate(captions)]
            yield {
                "pixels": torch.stack([self.preprocess(draw_scene(scene)) for scene in scenes]),
                "text": torch.tensor([e.ids for e in self.tokenizer.encode_batch(texts)]),
                "patches": torch.stack([patch_labels(scene, self.grid) for scene in scenes]),
            }


def patch_labels(scene: Scene, grid: TokenGrid) -> Tensor:
    """What lies under each patch: float [patches, LABELS].

    1 where an object covers a quarter of the patch or has a quarter of itself on it.
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
