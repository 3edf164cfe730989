from __future__ import annotations

import numpy as np

from pipeline.experiments.settings import CHOSEN, PLAIN, PLAIN_ITM, matched
from pipeline.method.settings import Perturbation
from pipeline.reproduction.matching import matching_table
from pipeline.retrieval.ranks import Ranks


def ranks(text_ranks: list[int]) -> Ranks:
    count = len(text_ranks) // 2
    names = tuple(f"{number}.jpg" for number in range(count))
    owner = np.repeat(np.arange(count), 2)
    return Ranks(np.array(text_ranks), np.ones(count, np.int64), owner, np.arange(count) % 10, names)


def test_matching_stands_against_contrast_and_against_plain_matching() -> None:
    plain, better, best = ranks([2, 2] * 20), ranks([1, 2] * 20), ranks([1, 1] * 20)
    headers, rows = matching_table(plain, {PLAIN_ITM: better, "other": best}, samples=100, seed=0)
    assert all(len(row) == len(headers) for row in rows)
    found = {(row[0], row[1]): row for row in rows}
    assert found["contrast alone", "R@1"][2:] == ["0.00", "0.00 to 0.00", "", "", "", "", "", ""]
    assert found[PLAIN_ITM, "R@1"][2:6] == ["50.00", "50.00 to 50.00", "+50.00", "+50.00 to +50.00"]
    assert found[PLAIN_ITM, "R@1"][7:] == ["", "", ""]
    assert found["other", "R@1"][4] == "+100.00"
    assert found["other", "R@1"][7:9] == ["+50.00", "+50.00 to +50.00"]


def test_the_settings_name_whose_contrast_and_which_stages() -> None:
    chosen = Perturbation(scale=3)
    found = matched(chosen)
    assert list(found.values())[:2] == [(PLAIN, None), (CHOSEN, None)]
    contrast, setting = list(found.values())[2]
    assert contrast == CHOSEN
    assert setting == Perturbation(scale=3, stages=("itc", "itm"))
