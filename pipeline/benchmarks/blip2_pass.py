"""The cost of Q-Perturbation in a whole BLIP-2 of real size, from pixels to embeddings and captions.

Random weights in the shapes of LAVIS' retrieval model: EVA ViT-g (39 layers, 1408 wide, 16 heads), the Q-Former (12
layers, 12 heads of 64, 32 queries, 6 cross-attentions) with its text side, and the language head, in float32: 4.7 GB.
Times do not depend on the weights, as long as all activations are finite and not zero.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import Blip2Config, Blip2ForImageTextRetrieval

from pipeline.benchmarks.evaluation_ways import peak_memory
from pipeline.benchmarks.operator_work import OperatorWork, mean_tokens, random_objects
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.blip2.beam_search import Decoding
from pipeline.encoders.blip2.encoder import Blip2Encoder
from pipeline.encoders.blip2.language_head import build_language_head
from pipeline.method.settings import Perturbation

CAPTION = Decoding(num_beams=3, max_length=30, min_length=30)
"""LAVIS' beams and length, but every caption has full length: the end token is never allowed."""
_END = 0
_STD = 0.02


@dataclass(frozen=True)
class Blip2Times:
    """Medians over interleaved repetitions, in seconds for the whole batch; sizes in bytes unless stated otherwise.

    Attributes:
        vision: the vision tower, from pixels to image tokens.
        plain: the Q-Former's image pass, from image tokens to unit vectors.
        perturbed: the same with Q-Perturbation, from boxes on.
        construction: making the operators (KC), a part of `perturbed`, measured separately.
        enhancement: applying them to the queries (QE), likewise.
        share: median over the repetitions of (perturbed - plain) / (vision + plain), without unit.
        caption: one caption per photo, from image tokens to ids.
        perturbed_caption: the same with Q-Perturbation, from boxes on.
        moved: mean distance of plain and perturbed unit vectors, 0 to 2, as evidence that queries were perturbed.
        caption_tokens: tokens of a caption, including [DEC].
        beams: hypotheses kept per photo.
        images: photos in the batch.
        objects: boxes per photo.
        tokens_per_object: mean number of image tokens that a box touches.
        sites: perturbed cross-attentions.
        image_size: side of the square input, in pixels.
        parameters: of the model and its language head, shared ones counted once.
        vision_parameters: those in the vision tower.
        weights: size of the parameters.
        peak: peak memory of the process, from its start to the last pass.
        threads: torch's threads.
        repetitions: number of repetitions.
    """

    vision: float
    plain: float
    perturbed: float
    construction: float
    enhancement: float
    share: float
    caption: float
    perturbed_caption: float
    moved: float
    caption_tokens: int
    beams: int
    images: int
    objects: int
    tokens_per_object: float
    sites: int
    image_size: int
    parameters: int
    vision_parameters: int
    weights: int
    peak: int
    threads: int
    repetitions: int

    def __str__(self) -> str:
        return (
            f"BLIP-2 at {self.image_size} px, random weights: {self.parameters / 1e6:,.0f} million parameters,"
            f" {self.vision_parameters / 1e6:,.0f} of them vision; batch of {self.images}, {self.objects} objects each,"
            f" {self.tokens_per_object:.0f} tokens per object, {self.threads} threads\n"
            f"  vision tower         {1000 * self.vision:8.1f} ms\n"
            f"  Q-Former, plain      {1000 * self.plain:8.1f} ms\n"
            f"  Q-Former, perturbed  {1000 * self.perturbed:8.1f} ms   (operators {1000 * self.construction:.1f} ms,"
            f" applying them {1000 * self.enhancement:.1f} ms)\n"
            f"  extra                {self.share:8.4f} of the vision tower's and the plain Q-Former's time\n"
            f"  captions, plain      {1000 * self.caption:8.1f} ms   {self.caption_tokens} tokens, {self.beams} beams\n"
            f"  captions, perturbed  {1000 * self.perturbed_caption:8.1f} ms\n"
            f"  memory               {self.peak / 2**20:8,.0f} MiB at most, the weights {self.weights / 2**20:,.0f} MiB"
        )


def full_size(image_size: int = 364) -> Blip2Config:
    """The sizes of BLIP-2 with ViT-g: transformers' defaults, with the text side and the word [DEC].

    The vision tower is not initialised by transformers' 1e-10, which would make all image tokens equal.
    """
    return Blip2Config(
        vision_config={"image_size": image_size, "initializer_range": _STD},
        qformer_config={"vocab_size": 30523, "use_qformer_text_input": True},
    )


def random_encoder(config: Blip2Config, seed: int = 0) -> Blip2Encoder:
    """A BLIP-2 of these sizes with a language head, random weights in float32 on the CPU, and no tokenizer.

    There is never more than one copy of the weights.
    """
    torch.manual_seed(seed)
    model = Blip2ForImageTextRetrieval(config)
    nn.init.normal_(model.query_tokens, std=_STD)  # transformers initialises them with zeros
    head = build_language_head(model.embeddings.word_embeddings).state_dict()
    del head["decoder.weight"]  # the word embeddings
    return Blip2Encoder.from_model(model, lm_head=head, decoding=CAPTION)


@torch.no_grad()
def measure_blip2(
    config: Blip2Config | None = None,
    images: int = 1,
    objects: int = 6,
    repetitions: int = 3,
    perturbation: Perturbation | None = None,
    seed: int = 0,
) -> Blip2Times:
    """Time BLIP-2 with and without Q-Perturbation, fp32 on the CPU, with torch's current number of threads.

    Args:
        config: the sizes, with weights that are not close to zero; None is `full_size()`.
        images: photos in the batch.
        objects: boxes per photo, at least one, see `random_objects`.
        repetitions: interleaved repetitions; the medians are returned.
        perturbation: None is `Perturbation.paper()`. It acts on embeddings and on captions, whatever its stages.
        seed: of weights, pixels and boxes.
    """
    perturbation = perturbation or Perturbation.paper()
    seeing, writing = replace(perturbation, stages=("itc",)), replace(perturbation, stages=("lm",))
    encoder = random_encoder(config or full_size(), seed)
    side = encoder.grid.image_size
    pixels, boxes = torch.randn(images, 3, side, side), random_objects(images, objects, seed)
    tokens = encoder.backbone(pixels)
    work = OperatorWork(encoder.sites(), lambda: encoder.embed(tokens), encoder.vectors, boxes, encoder.grid, seeing)
    works: list[Callable[[], object]] = [
        lambda: encoder.backbone(pixels),
        lambda: encoder.embed(tokens),
        lambda: encoder.embed(tokens, boxes, seeing),
        work.construct,
        work.enhance,
        lambda: encoder.caption(tokens, eos_token_id=_END),
        lambda: encoder.caption(tokens, boxes, writing, eos_token_id=_END),
    ]
    seconds = interleaved(works, repetitions, encoder.device)
    vision, plain, perturbed, construction, enhancement, caption, perturbed_caption = map(statistics.median, seconds)
    extra = [(after - before) / (tower + before) for tower, before, after in zip(*seconds[:3], strict=True)]
    difference = encoder.embed(tokens, boxes, seeing) - encoder.embed(tokens)
    assert encoder.head is not None
    parameters = list(nn.ModuleList([encoder.model, encoder.head]).parameters())
    return Blip2Times(
        vision=vision,
        plain=plain,
        perturbed=perturbed,
        construction=construction,
        enhancement=enhancement,
        share=statistics.median(extra),
        caption=caption,
        perturbed_caption=perturbed_caption,
        moved=float(difference.norm(dim=-1).mean()),
        caption_tokens=len(encoder.caption(tokens[:1], eos_token_id=_END)[0]),
        beams=encoder.decoding.num_beams,
        images=images,
        objects=objects,
        tokens_per_object=mean_tokens(boxes, encoder.grid),
        sites=len(encoder.sites()),
        image_size=side,
        parameters=sum(parameter.numel() for parameter in parameters),
        vision_parameters=sum(parameter.numel() for parameter in encoder.model.vision_model.parameters()),
        weights=sum(parameter.nbytes for parameter in parameters),
        peak=peak_memory(),
        threads=torch.get_num_threads(),
        repetitions=repetitions,
    )
