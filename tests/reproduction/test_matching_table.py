from __future__ import annotations

import numpy as np

from pipeline.experiments.variants import CHOSEN, PLAIN, PLAIN_ITM, matched
from pipeline.method.settings import Perturbation
from pipeline.reproduction.matching_table import matching_table
from pipeline.retrieval.ranks import Ranks


def ranks(text_ranks: list[int]) -> Ranks:
    count = len(text_ranks) // 2
    names = tuple(f"{number}.jpg" for number in range(count))
    owner = np.repeat(np.arange(count), 2)
    return Ranks(np.array(text_ranks), np.ones(count, np.int64), owner, np.arange(count) % 10, names)


def test_matching_is_compared_with_contrast_and_with_plain_matching() -> None:
    plain, better, best = ranks([2, 2] * 20), ranks([1, 2] * 20), ranks([1, 1] * 20)
    headers, rows = matching_table(plain, {PLAIN_ITM: better, "other": best}, samples=100, seed=0)
    assert all(len(row) == len(headers) for row in rows)
    by_name = {(row[0], row[1]): row for row in rows}
    assert by_name["contrast alone", "R@1"][2:] == ["0.00", "0.00 to 0.00", *[""] * 10]
    assert by_name[PLAIN_ITM, "R@1"][2:6] == ["50.00", "50.00 to 50.00", "+50.00", "+50.00 to +50.00"]
    assert by_name[PLAIN_ITM, "R@1"][9:] == [""] * 5
    assert by_name["other", "R@1"][4] == "+100.00"
    assert by_name["other", "R@1"][9:11] == ["+50.00", "+50.00 to +50.00"]


def test_matched_settings_name_a_contrast_and_the_perturbed_stages() -> None:
    chosen = Perturbation(scale=3)
    settings = matched(chosen)
    assert list(settings.values())[:2] == [(PLAIN, None), (CHOSEN, None)]
    contrast, setting = list(settings.values())[2]
    assert contrast == CHOSEN
    assert setting == Perturbation(scale=3, stages=("itc", "itm"))
