"""What Q-Perturbation adds to BLIP-2's Q-Former: the plain pass and the perturbed one, side by side.

Full size, random weights: 12 layers, 12 heads of 64, 32 queries, 6 cross-attentions to 26 x 26 + 1 image tokens of
width 1408. The vision encoder is left out; with it the share would be many times smaller.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.blip2.qformer import qformer_sites
from pipeline.encoders.sites import perturbing
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.objects import Objects, TokenGrid, batch_coverage
from pipeline.method.operator import object_operator, perturb
from pipeline.method.settings import Perturbation

GRID = TokenGrid(image_size=364, patch=14, mode="squash")
_SMALLEST, _LARGEST, _ASPECT = 0.005, 0.5, 2.0


@dataclass(frozen=True)
class QueryFormerTimes:
    """Medians over interleaved repetitions, in seconds for the whole batch (compare Table B).

    Attributes:
        plain: the Q-Former's image pass.
        perturbed: the same with Q-Perturbation at its six sites, from boxes to output.
        construction: of that, making the operators (KC), measured by itself.
        enhancement: of that, applying them to the queries (QE), measured by itself.
        ratio: median over the repetitions of (perturbed - plain) / plain.
        images: photos in the batch.
        objects: boxes per photo.
        tokens_per_object: mean number of image tokens that a box touches.
        threads: torch's threads.
        device: where it ran.
    """

    plain: float
    perturbed: float
    construction: float
    enhancement: float
    ratio: float
    images: int
    objects: int
    tokens_per_object: float
    threads: int
    device: str

    def __str__(self) -> str:
        return (
            f"BLIP-2's Q-Former, random weights: {self.images} photos, {self.objects} objects each,"
            f" {self.tokens_per_object:.0f} tokens per object, {self.threads} threads on {self.device}\n"
            f"  plain      {1000 * self.plain:8.1f} ms\n"
            f"  perturbed  {1000 * self.perturbed:8.1f} ms\n"
            f"  extra      {self.ratio:8.2f} of the plain time   (operators {1000 * self.construction:.1f} ms,"
            f" applying them {1000 * self.enhancement:.1f} ms)"
        )


def random_objects(images: int, count: int, seed: int = 0) -> list[Objects]:
    """Boxes anywhere in the photo, areas log-uniform between 0.5 % and 50 % of it, aspects between 1:2 and 2:1."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(images, count, 4, generator=generator)
    area = _SMALLEST * (_LARGEST / _SMALLEST) ** draws[..., 0]
    width = (area * _ASPECT ** (2 * draws[..., 1] - 1)).sqrt()
    width = width.maximum(area).clamp(max=1)  # neither side may exceed the photo's
    height = area / width
    x, y = draws[..., 2] * (1 - width), draws[..., 3] * (1 - height)
    boxes = torch.stack([x, y, x + width, y + height], -1).clamp(0, 1)
    return [Objects(of_photo, [""] * count, torch.ones(count), (640, 480)) for of_photo in boxes]


class OperatorWork:
    """The two steps of Q-Perturbation by themselves, on the keys of one pass: the operators (KC), applying them (QE).

    Args:
        sites: the perturbable cross-attentions.
        look: runs the photos through all of them.
        queries: query tokens per photo.
        objects: one `Objects` per photo.
        grid: how a photo is cut into tokens.
        perturbation: what is done to the queries.
    """

    def __init__(
        self,
        sites: Mapping[str, nn.Module],
        look: Callable[[], object],
        queries: int,
        objects: Sequence[Objects],
        grid: TokenGrid,
        perturbation: Perturbation,
    ) -> None:
        self._objects, self._grid, self._perturbation = objects, grid, perturbation
        self._keys: dict[str, Tensor] = {}
        with perturbing(sites, self._record):
            look()
        some = next(iter(self._keys.values()))
        photos, heads, _, width = some.shape
        self._queries = torch.randn(photos, queries, heads, width, device=some.device).transpose(1, 2)
        self._operators = self.construct()

    def construct(self) -> dict[str, Tensor]:
        """The operators of all sites, from the boxes on."""
        some = next(iter(self._keys.values()))
        groups = pool_object_keys(*batch_coverage(self._objects, self._grid), self._perturbation, some.device)
        return {name: object_operator(k, groups, self._perturbation) for name, k in self._keys.items()}

    def enhance(self) -> list[Tensor]:
        """Random queries, perturbed with the operator of each site."""
        return [perturb(self._queries, operator) for operator in self._operators.values()]

    def _record(self, name: str, k: Tensor) -> Tensor:
        self._keys[name] = k
        return k.new_zeros(*k.shape[:2], k.shape[-1], k.shape[-1])


def mean_tokens(objects: Sequence[Objects], grid: TokenGrid) -> float:
    """Mean number of image tokens that a box touches; every photo has as many boxes."""
    coverage, _ = batch_coverage(objects, grid)
    return float((coverage > 0).sum(-1).float().mean())


@torch.no_grad()
def measure_query_former(
    images: int = 4,
    objects: int = 6,
    repetitions: int = 9,
    layers: int = 12,
    perturbation: Perturbation | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> QueryFormerTimes:
    """Time the Q-Former with and without Q-Perturbation, fp32, with the threads torch has now.

    Args:
        images: photos in the batch.
        objects: boxes per photo, see `random_objects`.
        repetitions: interleaved repetitions; the medians are returned.
        layers: of the Q-Former, every second with a cross-attention; BLIP-2 has 12.
        perturbation: None is `Perturbation.paper()`.
        device: a torch device.
        seed: of weights, image tokens and boxes.
    """
    perturbation = perturbation or Perturbation.paper()
    torch.manual_seed(seed)
    config = Blip2QFormerConfig(vocab_size=1, num_hidden_layers=layers)
    model = Blip2QFormerModel(config).eval().to(device)
    sites = qformer_sites(model)
    queries = torch.randn(images, 32, config.hidden_size, device=device)
    tokens = torch.nn.functional.layer_norm(
        torch.randn(images, GRID.tokens, config.encoder_hidden_size, device=device), [config.encoder_hidden_size]
    )
    boxes = random_objects(images, objects, seed)

    def run(perturbed: bool) -> None:
        context: AbstractContextManager[None] = nullcontext()
        if perturbed:
            groups = pool_object_keys(*batch_coverage(boxes, GRID), perturbation, device)
            context = perturbing(sites, lambda _, k: object_operator(k, groups, perturbation))
        with context:
            model(query_embeds=queries, encoder_hidden_states=tokens)

    work = OperatorWork(sites, lambda: run(False), queries.shape[1], boxes, GRID, perturbation)
    works: list[Callable[[], object]] = [lambda: run(False), lambda: run(True), work.construct, work.enhance]
    plain, perturbed, construction, enhancement = interleaved(works, repetitions, torch.device(device))
    return QueryFormerTimes(
        plain=statistics.median(plain),
        perturbed=statistics.median(perturbed),
        construction=statistics.median(construction),
        enhancement=statistics.median(enhancement),
        ratio=statistics.median((after - before) / before for before, after in zip(plain, perturbed, strict=True)),
        images=images,
        objects=objects,
        tokens_per_object=mean_tokens(boxes, GRID),
        threads=torch.get_num_threads(),
        device=str(torch.device(device)),
    )
