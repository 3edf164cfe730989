from __future__ import annotations

import pytest
import torch

from pipeline.workers.transfer import stack_on


def test_on_a_cpu_photos_are_stacked() -> None:
    photos = [torch.randn(3, 4, 5) for _ in range(6)]
    batch = stack_on(photos, torch.device("cpu"))
    assert torch.equal(batch, torch.stack(photos))
    assert not batch.is_pinned()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
def test_on_a_gpu_no_batch_overwrites_one_that_is_still_being_copied() -> None:
    batches = [[torch.full((3, 364, 364), float(number)) for _ in range(8)] for number in range(40)]
    on_gpu = [stack_on(photos, torch.device("cuda")) for photos in batches]
    for number, batch in enumerate(on_gpu):
        assert batch.is_cuda
        assert (batch == number).all()
