"""What Q-Perturbation costs in InternVL-14B: its layers one of each kind, at their real size, with random weights.

The whole model takes 55 GB in float32. Its layers are alike, so one InternViT block, one QLLaMA layer with a
cross-attention, the same without, and the pooling attention are timed, and added up as often as the model has them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import LlamaConfig

from pipeline.benchmarks.query_former import OperatorWork, mean_tokens, random_objects
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.attention_pooling import AttentionPooling
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
        construction: making the operator of one QLLaMA cross-attention (KC), from the boxes on.
        enhancement: applying it to the 96 queries (QE).
        pooling: both for the pooling attention, whose heads are wider but fewer.
    """

    objects: int
    tokens_per_object: float
    construction: float
    enhancement: float
    pooling: float

    def extra(self, sites: int) -> float:
        """Seconds that so many of QLLaMA's cross-attentions and the pooling attention cost a photo."""
        return sites * (self.construction + self.enhancement) + self.pooling


@dataclass(frozen=True)
class LayerTimes:
    """Medians over interleaved repetitions, in seconds for one photo in float32.

    Attributes:
        block: an InternViT block.
        crossed: a QLLaMA layer with its cross-attention, on the queries.
        plain: the same without.
        pooled: the pooling attention.
        sites: what perturbing costs, by number of objects.
        config: the sizes of the whole model.
        threads: torch's threads.
        repetitions: how many the medians are over.
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
        """QLLaMA's, sixteen in the published model."""
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
        for each in self.sites:
            lines.append(
                f"  {each.objects:7d}  {each.tokens_per_object:11.0f}  {1000 * each.construction:5.1f} ms"
                f"  {1000 * each.enhancement:8.2f} ms  {1000 * each.pooling:9.1f} ms"
                f"  {1000 * each.extra(every):12.0f} ms  {each.extra(every) / self.whole:14.4f}"
                f"  {1000 * each.extra(every // 4):20.0f} ms"
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
    """Time the layers and what perturbing them costs, one photo, float32, on the CPU with the threads torch has now.

    Args:
        config: the sizes; None are the published ones at 364 pixels.
        counts: numbers of objects per photo, see `random_objects`.
        repetitions: interleaved repetitions; the medians are returned.
        perturbation: None is `Perturbation.paper()`.
        seed: of weights, image tokens and boxes.
    """
    config, perturbation = config or InternVLConfig(force_image_size=364), perturbation or Perturbation.paper()
    torch.manual_seed(seed)
    sizes, width = config.qllama_config, config.vision_config.hidden_size
    llama = LlamaConfig(
        hidden_size=sizes.hidden_size, num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size, attn_implementation="sdpa",
    )  # fmt: skip
    block, layer = _random(Block(config.vision_config)), _random(QLlamaLayer(llama, 0, width))
    pooling = _random(AttentionPooling(width, config.attn_pool_num_heads, config.clip_embed_dim))
    assert isinstance(pooling, AttentionPooling)
    assert isinstance(layer, QLlamaLayer)
    assert layer.cross_attn is not None
    tokens = torch.randn(1, config.image_tokens, width)
    queries = torch.randn(1, config.num_query_token, sizes.hidden_size)
    places = rotary(config.num_query_token, sizes.hidden_size // sizes.num_attention_heads, queries)

    def look(image_tokens: Tensor | None) -> object:
        return layer(queries, image_tokens, None, places)

    works: list[Callable[[], object]] = [
        lambda: block(tokens), lambda: look(tokens), lambda: look(None), lambda: pooling(tokens)
    ]  # fmt: skip
    grid, crossed, pool = (
        TokenGrid(config.image_size, config.vision_config.patch_size, "squash"),
        {"cross": layer.cross_attn}, {"pool": pooling.cross_attn},
    )  # fmt: skip
    shown = []
    for count in counts:
        boxes = random_objects(1, count, seed)
        at_layer = OperatorWork(crossed, lambda: look(tokens), len(queries[0]), boxes, grid, perturbation)
        at_pool = OperatorWork(pool, lambda: pooling(tokens), 1, boxes, grid, perturbation)
        shown.append((count, mean_tokens(boxes, grid)))
        works += [at_layer.construct, at_layer.enhance, _both(at_pool)]
    medians = [statistics.median(each) for each in interleaved(works, repetitions, torch.device("cpu"))]
    parts, of_sites = medians[:4], zip(medians[4::3], medians[5::3], medians[6::3], strict=True)
    return LayerTimes(
        block=parts[0],
        crossed=parts[1],
        plain=parts[2],
        pooled=parts[3],
        sites=[SiteTimes(*which, *times) for which, times in zip(shown, of_sites, strict=True)],
        config=config,
        threads=torch.get_num_threads(),
        repetitions=repetitions,
    )


def _both(work: OperatorWork) -> Callable[[], object]:
    return lambda: (work.construct(), work.enhance())
