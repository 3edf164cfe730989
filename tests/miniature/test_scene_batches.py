from __future__ import annotations

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from pipeline.datasets.scenes.scene import SCENE_SIZE, Scene, SceneObject
from pipeline.miniature.coca_model import CONTEXT, GRID, IMAGE_SIZE, MODEL, build_tokenizer
from pipeline.miniature.scene_batches import LABELS, SceneBatches, patch_labels
from pipeline.miniature.train_coca import embed_captions


def test_patch_labels_name_the_objects_under_each_patch() -> None:
    patch = SCENE_SIZE / GRID.side
    large = SceneObject("square", "red", (0, 0, round(4 * patch), round(2 * patch)))
    tiny = SceneObject("star", "blue", (round(5.2 * patch), round(5.2 * patch), round(5.6 * patch), round(5.6 * patch)))
    labels = patch_labels(Scene("natural", 0, 0, (large, tiny), "plain"), GRID).view(GRID.side, GRID.side, len(LABELS))
    assert labels[:2, :4, LABELS.index("square")].all()
    assert labels[..., LABELS.index("square")].sum() == 8
    assert labels[5, 5, LABELS.index("star")] == 1
    assert labels[5, 5, LABELS.index("blue")] == 1
    assert labels[..., LABELS.index("blue")].sum() == 1


def test_batches_are_reproducible_and_hold_two_captions_per_scene() -> None:
    preprocess = image_transform_v2(PreprocessCfg(size=IMAGE_SIZE), is_train=False)
    first = list(SceneBatches(0, 2, 3, preprocess, build_tokenizer(), GRID))
    again = list(SceneBatches(0, 2, 3, preprocess, build_tokenizer(), GRID))
    assert [batch["text"].shape for batch in first] == [(6, CONTEXT)] * 2
    assert first[0]["pixels"].shape == (3, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert not torch.equal(first[0]["pixels"], first[1]["pixels"])
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_tokenizer_ignores_punctuation_and_frames_captions() -> None:
    tokenizer = build_tokenizer()
    with_comma, without = tokenizer.encode("a Red star, a moon"), tokenizer.encode("a red star a moon")
    assert with_comma.ids == without.ids
    assert with_comma.tokens[:7] == ["[BOS]", "a", "red", "star", "a", "moon", "[EOS]"]
    assert set(with_comma.tokens[7:]) == {"[PAD]"}
    assert tokenizer.encode("zebra").tokens[1] == "[UNK]"


def test_texts_without_padding_equal_open_clips_embeddings() -> None:
    torch.manual_seed(0)
    model = open_clip.CoCa(**MODEL).eval()
    texts = ["a red star", "a huge blue moon above a tiny green ring on a plain background"]
    ids = torch.tensor([encoding.ids for encoding in build_tokenizer().encode_batch(texts)])
    with torch.no_grad():
        torch.testing.assert_close(embed_captions(model.text, ids)[0], model.encode_text(ids), atol=1e-6, rtol=0)
