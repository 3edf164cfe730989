"""The cost of Q-Perturbation in BLIP-2's Q-Former: the plain pass and the perturbed one, side by side.

Full size, random weights: 12 layers, 12 heads of 64, 32 queries, 6 cross-attentions to 26 x 26 + 1 image tokens of
width 1408. The vision encoder is not included; with it the share would be many times smaller.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from pipeline.benchmarks.operator_work import OperatorWork, mean_tokens, random_objects
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.blip2.qformer import qformer_sites
from pipeline.encoders.sites import perturbing
from pipeline.method.object_keys import pool_object_keys
from pipeline.method.objects import TokenGrid, batch_coverage
from pipeline.method.operator import object_operator
from pipeline.method.settings import Perturbation

GRID = TokenGrid(image_size=364, patch=14, mode="squash")


@dataclass(frozen=True)
class QueryFormerTimes:
    """Medians over interleaved repetitions, in seconds for the whole batch (compare Table B).

    Attributes:
        plain: the Q-Former's image pass.
        perturbed: the same with Q-Perturbation at its six sites, from boxes to output.
        construction: making the operators (KC), a part of `perturbed`, measured separately.
        enhancement: applying them to the queries (QE), likewise.
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
    """Time the Q-Former with and without Q-Perturbation, fp32, with torch's current number of threads.

    Args:
        images: photos in the batch.
        objects: boxes per photo, see `random_objects`.
        repetitions: interleaved repetitions; the medians are returned.
        layers: of the Q-Former, every second one with a cross-attention; BLIP-2 has 12.
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
            context = perturbing(sites, lambda _, keys: object_operator(keys, groups, perturbation))
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
