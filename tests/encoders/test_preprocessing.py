"""Photos as vision towers take them: equal to torchvision's transforms, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import v2

from pipeline.encoders.preprocessing import centre_cropping, squashing

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = [(112, 112), (112, 200), (301, 112), (33, 57), (57, 33), (640, 427), (427, 641), (113, 112), (1, 40), (700, 11)]


def photo(size: tuple[int, int]) -> Image.Image:
    drawn = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(drawn)


@pytest.mark.parametrize("size", SIZES)
def test_squashing_equals_torchvision(size: tuple[int, int]) -> None:
    steps = v2.Resize([112, 112], v2.InterpolationMode.BICUBIC), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)
    want = v2.Compose([*steps, v2.Normalize(MEAN, STD)])(photo(size))
    assert torch.equal(squashing(112, MEAN, STD)(photo(size)), want)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [112, 33])
def test_centre_cropping_equals_open_clip(size: tuple[int, int], side: int) -> None:
    want = image_transform_v2(PreprocessCfg(size=side, mean=MEAN, std=STD), is_train=False)(photo(size))
    assert torch.equal(centre_cropping(side, MEAN, STD)(photo(size)), want)
