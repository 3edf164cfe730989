"""The cost of Q-Perturbation in InternVL-14B: one layer of each kind, at real size, with random weights.

The whole model takes 55 GB in float32. Its layers are alike, so one InternViT block, one QLLaMA layer with and without
a cross-attention and the pooling attention are timed, and multiplied by how many of each the model has.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.benchmarks.operator_work import OperatorWork, mean_tokens, random_objects
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.internvl.attention_pooling import AttentionPooling
from pipeline.encoders.internvl.config import InternVLConfig
from pipeline.encoders.internvl.intern_vit import Block
from pipeline.encoders.internvl.qllama import QLlamaLayer, rotary
from pipeline.method.objects import TokenGrid
from pipeline.method.settings import Perturbation

COUNTS = (1, 2, 4, 6, 12, 24)
"""Objects per photo."""


@dataclass(frozen=True)
class SiteTimes:
    """Medians for one number of objects, in seconds for one photo.

    Attributes:
        objects: per photo.
        tokens_per_object: mean number of image tokens that a box touches.
        construction: making the operator of one QLLaMA cross-attention from the boxes (KC).
        enhancement: applying it to the 96 queries (QE).
        pooling: both for the pooling attention, which has fewer and wider heads.
    """

    objects: int
    tokens_per_object: float
    construction: float
    enhancement: float
    pooling: float

    def extra(self, sites: int) -> float:
        """Seconds per photo for `sites` of QLLaMA's cross-attentions and the pooling attention."""
        return sites * (self.construction + self.enhancement) + self.pooling


@dataclass(frozen=True)
class LayerTimes:
    """Medians over interleaved repetitions, in seconds for one photo in float32.

    Attributes:
        block: an InternViT block.
        crossed: a QLLaMA layer with its cross-attention, on the queries.
        plain: the same layer without it.
        pooled: the pooling attention.
        sites: cost of the perturbation, by number of objects.
        config: the sizes of the whole model.
        threads: torch's threads.
        repetitions: number of repetitions.
    """

    block: float
    crossed: float
    plain: float
    pooled: float
    sites: list[SiteTimes]
    config: InternVLConfig = field(repr=False)
    threads: int
    repetitions: int

    @property
    def cross_attentions(self) -> int:
        """QLLaMA's cross-attentions, sixteen in the published model."""
        return -(-self.config.qllama_config.num_hidden_layers // self.config.cross_attention_frequency)

    @property
    def whole(self) -> float:
        """Seconds of one photo through all layers, plain."""
        crossed, layers = self.cross_attentions, self.config.qllama_config.num_hidden_layers
        qllama = crossed * self.crossed + (layers - crossed) * self.plain
        return self.config.vision_config.num_hidden_layers * self.block + qllama + self.pooled

    def __str__(self) -> str:
        every, config = self.cross_attentions, self.config
        lines = [
            f"InternVL-14B at {config.image_size} px, random weights, float32, one photo, {self.threads} threads",
            f"  InternViT block           {1000 * self.block:8.1f} ms   x {config.vision_config.num_hidden_layers}",
            f"  QLLaMA layer, crossed     {1000 * self.crossed:8.1f} ms   x {every}",
            f"  QLLaMA layer, plain       {1000 * self.plain:8.1f} ms"
            f"   x {config.qllama_config.num_hidden_layers - every}",
            f"  pooling attention         {1000 * self.pooled:8.1f} ms",
            f"  all layers                {self.whole:8.2f} s",
            f"  objects  tokens each  operator  applying it  pooling site   all {every} + 1, share of all layers"
            f"   {every // 4} + 1 sites",
        ]
        for times in self.sites:
            lines.append(
                f"  {times.objects:7d}  {times.tokens_per_object:11.0f}  {1000 * times.construction:5.1f} ms"
                f"  {1000 * times.enhancement:8.2f} ms  {1000 * times.pooling:9.1f} ms"
                f"  {1000 * times.extra(every):12.0f} ms  {times.extra(every) / self.whole:14.4f}"
                f"  {1000 * times.extra(every // 4):20.0f} ms"
            )
        return "\n".join(lines)


def _random(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
    return module.eval().requires_grad_(False)


@torch.no_grad()
def measure_layers(
    config: InternVLConfig | None = None,
    counts: tuple[int, ...] = COUNTS,
    repetitions: int = 5,
    perturbation: Perturbation | None = None,
    seed: int = 0,
) -> LayerTimes:
    """Time the layers and their perturbation, for one photo in float32 on the CPU, with torch's current threads.

    Args:
        config: the sizes; None means the published ones at 364 pixels.
        counts: numbers of objects per photo, see `random_objects`.
        repetitions: interleaved repetitions; the medians are returned.
        perturbation: None is `Perturbation.paper()`.
        seed: of weights, image tokens and boxes.
    """
    config, perturbation = config or InternVLConfig(force_image_size=364), perturbation or Perturbation.paper()
    torch.manual_seed(seed)
    sizes, width = config.qllama_config, config.vision_config.hidden_size
    block, layer = _random(Block(config.vision_config)), _random(QLlamaLayer(sizes, width))
    pooling = _random(AttentionPooling(width, config.attn_pool_num_heads, config.clip_embed_dim))
    assert isinstance(pooling, AttentionPooling)
    assert isinstance(layer, QLlamaLayer)
    assert layer.cross_attn is not None
    tokens = torch.randn(1, config.image_tokens, width)
    queries = torch.randn(1, config.num_query_token, sizes.hidden_size)
    positions = rotary(config.num_query_token, sizes.hidden_size // sizes.num_attention_heads, queries)

    def look(image_tokens: Tensor | None) -> object:
        return layer(queries, image_tokens, None, positions)

    works: list[Callable[[], object]] = [
        lambda: block(tokens), lambda: look(tokens), lambda: look(None), lambda: pooling(tokens)
    ]  # fmt: skip
    grid, crossed, pool = (
        TokenGrid(config.image_size, config.vision_config.patch_size, "squash"),
        {"cross": layer.cross_attn}, {"pool": pooling.cross_attn},
    )  # fmt: skip
    objects = []
    for count in counts:
        boxes = random_objects(1, count, seed)
        at_layer = OperatorWork(crossed, lambda: look(tokens), len(queries[0]), boxes, grid, perturbation)
        at_pool = OperatorWork(pool, lambda: pooling(tokens), 1, boxes, grid, perturbation)
        objects.append((count, mean_tokens(boxes, grid)))
        works += [at_layer.construct, at_layer.enhance, _both(at_pool)]
    medians = [statistics.median(times) for times in interleaved(works, repetitions, torch.device("cpu"))]
    parts, site_times = medians[:4], zip(medians[4::3], medians[5::3], medians[6::3], strict=True)
    return LayerTimes(
        block=parts[0],
        crossed=parts[1],
        plain=parts[2],
        pooled=parts[3],
        sites=[SiteTimes(*measured, *times) for measured, times in zip(objects, site_times, strict=True)],
        config=config,
        threads=torch.get_num_threads(),
        repetitions=repetitions,
    )


def _both(work: OperatorWork) -> Callable[[], object]:
    return lambda: (work.construct(), work.enhance())
