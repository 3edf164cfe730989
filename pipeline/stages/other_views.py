"""The further vectors of photos (`MultiConfig`): of regions, crops, tiles, clusters and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pipeline.encoders.base import Encoder
from pipeline.encoders.clusters import cluster_tokens
from pipeline.encoders.emphasis import subset
from pipeline.encoders.masking import embed_masked
from pipeline.encoders.object_embeddings import object_embeddings, seen_objects
from pipeline.features.views import View
from pipeline.method.cuts import as_box, cut_around, tiles
from pipeline.method.objects import Objects, batch_coverage
from pipeline.stages.multi_config import MultiConfig
from pipeline.workers.memory import CPU_PHOTOS, GPU_PHOTOS, free_memory, out_of_memory
from pipeline.workers.transfer import stack_on


@dataclass(frozen=True)
class Cuts:
    """Pictures cut from a photo, as the encoder takes them: one `pixels` and one `View` for each."""

    pixels: tuple[Tensor, ...]
    views: tuple[View, ...]


class OtherViews:
    """Makes the further vectors of photos.

    However many views a photo has, the encoder gets no more than a micro-batch of pictures or masks at once; fewer when
    memory runs out.

    Args:
        encoder: the model.
        config: which views.
        most: pictures per call of the model; None for what micro-batches have by default.
    """

    def __init__(self, encoder: Encoder, config: MultiConfig, most: int | None = None) -> None:
        self.encoder, self.config = encoder, config
        self.at_once = most or (CPU_PHOTOS if encoder.device.type == "cpu" else GPU_PHOTOS)

    @property
    def photos_at_once(self) -> int:
        """Photos per micro-batch whose pictures, cuts included, are no more than one call takes; at least 1."""
        return max(1, self.at_once // (1 + self.config.cuts))

    def cut(self, image: Image.Image, objects: Objects) -> Cuts:
        """Cuts a decoded photo up, and prepares the pictures as if they were photos."""
        config, size = self.config, image.size
        cuts = []
        if "crops" in config.kinds:
            boxes = [box for box in self._chosen(objects).boxes.tolist() if box[2] > box[0] and box[3] > box[1]]
            cuts += [("crop", cut_around(box, config.margin, size)) for box in boxes]
        if "tiles" in config.kinds:
            cuts += [("tile", tile) for across in config.tiles for tile in tiles(across, config.overlap, size)]
        return Cuts(
            tuple(self.encoder.preprocess(image.crop(cut)) for _, cut in cuts),
            tuple(View(kind, as_box(cut, size)) for kind, cut in cuts),
        )

    @torch.inference_mode()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects], cuts: Sequence[Cuts]
    ) -> list[tuple[list[View], Tensor]]:
        """The further views of each photo, and their unit vectors float32 [n, V, D] on the CPU.

        Args:
            tokens: [B, N, C] of the photos from the backbone.
            objects: of each photo.
            cuts: of each photo, from `cut`.
        """
        known = [self._chosen(photo) for photo in objects]
        makers: dict[str, Callable[[], Iterator[tuple[list[View], Tensor]]]] = {
            "regions": lambda: self._regions(tokens, known),
            "crops": lambda: self._cuts(cuts, "crop"),
            "tiles": lambda: self._cuts(cuts, "tile"),
            "clusters": lambda: self._clusters(tokens, [photo.size for photo in objects]),
            "objects": lambda: self._objects(tokens, known),
        }
        parts = [list(makers[kind]()) for kind in self.config.kinds]
        return [
            ([view for views, _ in of_photo for view in views], torch.cat([vectors for _, vectors in of_photo]))
            for of_photo in zip(*parts, strict=True)
        ]

    def _chosen(self, objects: Objects) -> Objects:
        """At most `max_objects`, in their order: the most confident; of equally confident ones the largest."""
        if len(objects) <= self.config.max_objects:
            return objects
        by_rank = sorted(range(len(objects)), key=lambda n: (-float(objects.scores[n]), -float(objects.areas[n])))
        return subset(objects, sorted(by_rank[: self.config.max_objects]))

    def _regions(self, tokens: Tensor, objects: Sequence[Objects]) -> Iterator[tuple[list[View], Tensor]]:
        """The pooling masked to the tokens that each box touches; none for an object that the encoder does not see."""
        coverage, _ = batch_coverage(objects, self.encoder.grid)
        masks, views = [], []
        for photo, covered in zip(objects, coverage > 0, strict=True):
            seen = covered.any(-1)[: len(photo)].nonzero().flatten().tolist()
            masks.append(covered[seen])
            views.append([View("region", _corners(photo.boxes[number])) for number in seen])
        yield from zip(views, self._masked(tokens, masks), strict=True)

    def _clusters(self, tokens: Tensor, sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[list[View], Tensor]]:
        grid, config = self.encoder.grid, self.config
        masks, views = [], []
        for of_photo, size in zip(tokens, sizes, strict=True):
            rows, columns = grid.shape(size)
            patches = slice(grid.prefix, grid.prefix + rows * columns)
            members = cluster_tokens(of_photo[patches], config.clusters, config.seed).cpu()
            of_clusters = torch.zeros(int(members.max()) + 1, len(of_photo), dtype=torch.bool)
            of_clusters[:, patches] = members == torch.arange(len(of_clusters))[:, None]
            placement = grid.placement(size)
            places = of_clusters[:, patches].view(-1, rows, columns)
            views.append([View("cluster", _extent(place, grid.patch, placement)) for place in places])
            masks.append(of_clusters)
        yield from zip(views, self._masked(tokens, masks), strict=True)

    def _objects(self, tokens: Tensor, objects: Sequence[Objects]) -> Iterator[tuple[list[View], Tensor]]:
        seen = [seen_objects(photo, self.encoder.grid) for photo in objects]
        kept = [subset(photo, numbers) for photo, numbers in zip(objects, seen, strict=True)]
        vectors = object_embeddings(self.encoder, tokens, kept)
        for photo, of_photo in zip(kept, vectors, strict=True):
            yield [View("object", _corners(box)) for box in photo.boxes], of_photo.cpu()

    def _cuts(self, cuts: Sequence[Cuts], kind: str) -> Iterator[tuple[list[View], Tensor]]:
        chosen = [[n for n, view in enumerate(photo.views) if view.kind == kind] for photo in cuts]
        pixels = [photo.pixels[number] for photo, numbers in zip(cuts, chosen, strict=True) for number in numbers]

        def encode(start: int, end: int) -> Tensor:
            return self.encoder.embed(self.encoder.backbone(stack_on(pixels[start:end], self.encoder.device)))

        vectors = self._in_calls(len(pixels), encode)
        parts = torch.split(vectors, [len(numbers) for numbers in chosen])
        for photo, numbers, part in zip(cuts, chosen, parts, strict=True):
            yield [photo.views[number] for number in numbers], part

    def _masked(self, tokens: Tensor, masks: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each photo of tokens [B, N, C] its vectors under each of its `masks` bool [n, N]."""
        photo = torch.arange(len(masks)).repeat_interleave(torch.tensor([len(of_photo) for of_photo in masks]))
        every = torch.cat(list(masks))

        def encode(start: int, end: int) -> Tensor:
            return embed_masked(self.encoder, tokens[photo[start:end].to(tokens.device)], every[start:end])

        yield from torch.split(self._in_calls(len(every), encode), [len(of_photo) for of_photo in masks])

    def _in_calls(self, count: int, encode: Callable[[int, int], Tensor]) -> Tensor:
        """The vectors [count, V, D] on the CPU from calls for [start, end), halved when memory runs out."""
        parts, done = [torch.zeros(0, self.encoder.vectors, self.encoder.dim)], 0
        while done < count:
            end = min(count, done + self.at_once)
            try:
                parts.append(encode(done, end).cpu())
            except Exception as error:
                if not out_of_memory(error) or end - done == 1:
                    raise
                self.at_once = (end - done) // 2
                free_memory()
                continue
            done = end
        return torch.cat(parts)


def _corners(box: Tensor) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box.tolist()
    return x0, y0, x1, y1


def _extent(members: Tensor, patch: int, placement: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    """The smallest box, in fractions of the photo, around the patches of a mask bool [rows, columns]."""
    width, height, left, top = placement
    down, across = (members.any(axis).nonzero().flatten() for axis in (1, 0))
    x0, x1 = left + patch * int(across[0]), left + patch * (int(across[-1]) + 1)
    y0, y1 = top + patch * int(down[0]), top + patch * (int(down[-1]) + 1)
    return max(0.0, x0 / width), max(0.0, y0 / height), min(1.0, x1 / width), min(1.0, y1 / height)
