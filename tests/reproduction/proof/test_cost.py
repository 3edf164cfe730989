from __future__ import annotations

import pytest

from pipeline.encoders import load_encoder
from pipeline.experiments.variants import OES, PLAIN
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.cost import measure_costs
from pipeline.reproduction.proof.rows import CHOSEN, HI_RES, SHUFFLED, proof_rows, shown


@pytest.mark.slow
def test_every_row_that_one_would_index_with_is_timed() -> None:
    encoder = load_encoder("coca")
    objects = [Objects([[0.1, 0.1, 0.9, 0.6]] * 3, [""] * 3, [1.0] * 3, (60, 40), "a"), Objects.empty((60, 40))]
    rows = shown(proof_rows(Perturbation.paper(), Perturbation.one_component(), 2))
    costs = measure_costs(
        encoder, objects, rows, number_bytes=2, finer=load_encoder("coca", image_size=192), repetitions=2
    )
    assert [*costs.rows] == [row.name for row in rows]
    assert costs.plain > 0
    assert (costs.photos, costs.objects) == (2, 1.5)
    assert costs.rows[PLAIN].extra == 0
    assert costs.rows[CHOSEN].extra is not None
    assert costs.rows[SHUFFLED].extra is None
    assert (costs.rows[CHOSEN].vectors, costs.rows[CHOSEN].bytes) == (1, 2 * encoder.dim)
    assert (costs.rows[OES].vectors, costs.rows[OES].bytes) == (2.5, 2.5 * 2 * encoder.dim)
    assert (costs.rows["crops"].vectors, costs.rows["crops"].passes) == (2.5, 2.5)
    assert (costs.rows["tiles"].vectors, costs.rows["tiles"].passes) == (14, 14)
    assert (costs.rows["regions"].vectors, costs.rows["regions"].passes) == (2.5, 1)
    assert all(costs.rows[name].extra is not None for name in ("tiles", HI_RES))
    assert (costs.rows[HI_RES].vectors, costs.rows[HI_RES].passes) == (1, 1)
