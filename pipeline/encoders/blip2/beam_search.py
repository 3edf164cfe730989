"""Writing token by token, greedily or with beams: the decoding behind LAVIS' captions.

The rules are those of transformers 4.26, which LAVIS calls: a hypothesis is scored by the sum of its log-probabilities
divided by its length, which counts the prompt but not the end token; of 2 x beams candidates an end token counts only
among the best `beams`; a photo is done when its worst kept hypothesis is at least as good as the best unfinished one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import QpertError

Step = Callable[[Tensor, Tensor | None], Tensor]
"""From the new token ids [R, n] of the R = photos x beams rows, and the row that each continues [R] (None: its own), to
the logits [R, vocabulary] of the next token."""


@dataclass(frozen=True)
class Decoding:
    """How captions are written; the defaults are LAVIS'.

    Attributes:
        num_beams: hypotheses kept per photo; 1 is greedy.
        max_length: most tokens, including the prompt.
        min_length: tokens, including the prompt, before the end token is allowed.
    """

    num_beams: int = 3
    max_length: int = 30
    min_length: int = 10

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.min_length < 0 or self.max_length < 2:
            raise QpertError(f"captions need num_beams >= 1, min_length >= 0 and max_length >= 2, got {self}")


@dataclass
class _Hypotheses:
    """The best finished captions of one photo."""

    count: int
    done: bool = False
    kept: list[tuple[float, list[int]]] = field(default_factory=list)

    def add(self, ids: list[int], log_probability: float) -> None:
        score = log_probability / len(ids)
        if len(self.kept) == self.count and score <= self.kept[0][0]:
            return
        self.kept.append((score, ids))
        self.kept.sort(key=lambda scored: scored[0])  # the worst comes first; of equals, the later one counts as better
        del self.kept[: -self.count]

    def finish(self, best_growing: float, length: int) -> None:
        full = len(self.kept) == self.count
        self.done = self.done or (full and self.kept[0][0] >= best_growing / length)


def greedy(step: Step, prompt: Tensor, decoding: Decoding, end: int) -> list[list[int]]:
    """Always the most likely next token.

    Args:
        step: the model.
        prompt: int64 [B, P].
        decoding: `num_beams` is not used.
        end: id of the end token.

    Returns:
        For each photo its ids, including the prompt and, if it was reached, the end token.
    """
    rows = prompt.tolist()
    growing = torch.ones(len(prompt), dtype=torch.bool, device=prompt.device)
    ids, length = prompt, prompt.shape[1]
    while length < decoding.max_length and growing.any():
        logits = step(ids, None).float()
        if length < decoding.min_length:
            logits[:, end] = -torch.inf
        chosen = logits.argmax(-1)
        for row, (token, grows) in enumerate(zip(chosen.tolist(), growing.tolist(), strict=True)):
            if grows:
                rows[row].append(token)
        growing &= chosen != end
        ids, length = chosen[:, None], length + 1
    return rows


def beam_search(step: Step, prompt: Tensor, decoding: Decoding, end: int) -> list[list[int]]:
    """The caption most probable per token, found with `num_beams` hypotheses at a time; see `greedy`."""
    beams, photos = decoding.num_beams, len(prompt)
    finished = [_Hypotheses(beams) for _ in range(photos)]
    rows = prompt.repeat_interleave(beams, 0)
    scores = torch.full((photos, beams), -1e9, device=prompt.device)
    scores[:, 0] = 0  # all beams of a photo start the same
    new, origin = rows, None
    while rows.shape[1] < decoding.max_length and not all(hypotheses.done for hypotheses in finished):
        length = rows.shape[1]
        logits = F.log_softmax(step(new, origin).float(), -1)
        if length < decoding.min_length:
            logits[:, end] = -torch.inf
        vocabulary = logits.shape[-1]
        totals = (logits.view(photos, beams, vocabulary) + scores[..., None]).flatten(1)
        best, index = totals.topk(2 * beams, dim=1)
        ended = (index % vocabulary) == end
        texts, probable, places = rows.view(photos, beams, length).tolist(), best.tolist(), index.tolist()
        for photo, hypotheses in enumerate(finished):
            if hypotheses.done:
                continue
            for rank, place in enumerate(places[photo][:beams]):
                if place % vocabulary == end:
                    hypotheses.add(texts[photo][place // vocabulary], probable[photo][rank])
            hypotheses.finish(probable[photo][0], length)
        going = torch.argsort(ended.int(), dim=1, stable=True)[:, :beams]  # the best that have not ended, in order
        scores, index = best.gather(1, going), index.gather(1, going)
        first = torch.arange(photos, device=prompt.device)[:, None] * beams
        origin = (first + index // vocabulary).flatten()
        new = (index % vocabulary).flatten()[:, None]
        rows = torch.cat([rows[origin], new], 1)
    results = []
    for photo, hypotheses in enumerate(finished):
        if not hypotheses.done:
            for beam in range(beams):
                hypotheses.add(rows[photo * beams + beam].tolist(), float(scores[photo, beam]))
        ids = hypotheses.kept[-1][1]
        results.append([*ids, end] if len(ids) < decoding.max_length else ids)
    return results
