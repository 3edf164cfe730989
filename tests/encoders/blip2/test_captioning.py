"""Captions: cached decoding equals the whole pass under the UniLM mask; stages, prompts, work done only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.encoders.blip2.captioning import CaptionWriter
from pipeline.encoders.blip2.encoder import Blip2Encoder
from pipeline.encoders.blip2.inputs import unilm_mask
from pipeline.errors import QpertError
from pipeline.method.operator import object_operator
from pipeline.method.settings import Perturbation
from tests.encoders.blip2.tiny_blip2 import BEGIN, END, build, counting, head_state, some_objects, tokenizer

LM = Perturbation(scale=4, stages=("lm",))


@pytest.fixture
def encoder(tmp_path: Path) -> Blip2Encoder:
    model = build()
    return Blip2Encoder.from_model(model, tokenizer(tmp_path), head_state(model))


@pytest.fixture
def tokens(encoder: Blip2Encoder) -> Tensor:
    return encoder.backbone(torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(5)))


def whole_pass(encoder: Blip2Encoder, tokens: Tensor, ids: Tensor) -> Tensor:
    """Logits [B, L, words] of all tokens in one pass through transformers' Q-Former."""
    model, queries = encoder.model, encoder.model.query_tokens.expand(len(tokens), -1, -1)
    states = model.qformer(
        query_embeds=model.embeddings(input_ids=ids, query_embeds=queries),
        query_length=queries.shape[1],
        attention_mask=unilm_mask(queries.shape[1], torch.ones_like(ids)),
        encoder_hidden_states=tokens,
    ).last_hidden_state
    assert encoder.head is not None
    return encoder.head(states[:, queries.shape[1] :])


@torch.no_grad()
def test_the_mask_hides_text_from_queries_and_later_text_from_text(encoder: Blip2Encoder, tokens: Tensor) -> None:
    ids = torch.tensor([[BEGIN, 5, 6, 7, 8]] * 3)
    other = ids.clone()
    other[:, 3:] = 9
    logits, changed = whole_pass(encoder, tokens, ids), whole_pass(encoder, tokens, other)
    assert torch.equal(logits[:, :3], changed[:, :3])
    assert (logits[:, 3:] - changed[:, 3:]).abs().max() > 1e-3
    mask = unilm_mask(2, torch.tensor([[1, 1, 0]]))[0, 0].int().tolist()
    assert mask == [[1, 1, 0, 0, 0]] * 2 + [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]


@pytest.mark.parametrize("perturbed", [False, True])
@torch.no_grad()
def test_steps_with_a_cache_equal_the_whole_pass(encoder: Blip2Encoder, tokens: Tensor, perturbed: bool) -> None:
    ids = torch.tensor([[BEGIN, 5, 7, 8, 10, 11], [BEGIN, 9, 9, 5, 12, 6], [BEGIN, 13, 9, 10, 11, 12]])
    with encoder.perturbing(tokens, some_objects(), LM if perturbed else None, "lm"):
        want = whole_pass(encoder, tokens, ids)
        writer = CaptionWriter(encoder.model, encoder.head, tokens)  # type: ignore[arg-type]
    writer.cache, writer.length = list(writer.photo_cache), 0
    torch.testing.assert_close(writer.step(ids[:, :2], None), want[:, 1], atol=1e-4, rtol=1e-4)
    for position in range(2, 6):
        torch.testing.assert_close(
            writer.step(ids[:, position : position + 1], None), want[:, position], atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_greedy_takes_the_most_likely_token_of_the_whole_pass(encoder: Blip2Encoder, tokens: Tensor) -> None:
    ids = torch.full((3, 1), BEGIN)
    with encoder.perturbing(tokens, some_objects(), LM, "lm"):
        while ids.shape[1] < 12:
            logits = whole_pass(encoder, tokens, ids)[:, -1]
            if ids.shape[1] < 4:
                logits[:, END] = -torch.inf
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    texts = []
    for row in ids.tolist():
        texts.append(row[: row.index(END) + 1] if END in row else row)
    encoder.tokenizer = None
    got = encoder.caption(tokens, some_objects(), LM, num_beams=1, max_length=12, min_length=4, eos_token_id=END)
    assert got == texts  # type: ignore[comparison-overlap]


@torch.no_grad()
def test_the_photo_is_attended_to_once_for_captions_of_any_length(
    encoder: Blip2Encoder, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        "pipeline.encoders.base.object_operator", lambda *args: made.append(1) or object_operator(*args)
    )
    keys = [counting(site.key) for site in encoder.sites().values()]  # type: ignore[arg-type]
    for beams in (1, 3):
        encoder.caption(tokens, some_objects(), LM, num_beams=beams, min_length=9, max_length=10)
    assert [count() for count in keys] == [2, 2]
    assert len(made) == 2 * 2


@torch.no_grad()
def test_only_stage_lm_changes_captions(encoder: Blip2Encoder, tokens: Tensor) -> None:
    plain = encoder.caption(tokens)
    assert encoder.caption(tokens, some_objects(), Perturbation(scale=50, stages=("itc", "itm"))) == plain
    changed = encoder.caption(tokens, some_objects(), Perturbation(scale=50, stages=("lm",)))
    assert changed != plain
    assert changed[1] == plain[1]  # no objects there
    assert all(isinstance(text, str) and "[" not in text for text in changed)


@torch.no_grad()
def test_prompts(encoder: Blip2Encoder, tokens: Tensor) -> None:
    texts = encoder.caption(tokens, prompt="Two dog", max_length=8)
    assert all(text.startswith("two dog") for text in texts)
    with pytest.raises(QpertError, match="'two zebras' has words that this model does not know"):
        encoder.caption(tokens, prompt="two zebras")
    ids = torch.tensor([[BEGIN, 13, 9]])
    assert encoder.caption(tokens, input_ids=ids, max_length=8) == texts
    assert encoder.caption(tokens, input_ids=ids.expand(3, -1), attention_mask=torch.ones(3, 3), max_length=8) == texts
    with pytest.raises(QpertError, match="of one length"):
        encoder.caption(tokens, input_ids=ids, attention_mask=torch.tensor([[1, 1, 0]]))


def test_captions_do_not_depend_on_the_batch(encoder: Blip2Encoder, tokens: Tensor) -> None:
    together = encoder.caption(tokens, some_objects(), LM)
    alone = [encoder.caption(tokens[row : row + 1], some_objects()[row : row + 1], LM)[0] for row in range(3)]
    assert together == alone


@pytest.mark.parametrize("wrong", [{"max_length": 41}, {"max_length": 2, "prompt": "two dog"}])
def test_impossible_lengths_are_refused(encoder: Blip2Encoder, tokens: Tensor, wrong: dict[str, Any]) -> None:
    with pytest.raises(QpertError, match=r"cannot be written: .* positions for 40"):
        encoder.caption(tokens, **wrong)
