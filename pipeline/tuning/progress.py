"""How far a search is: a line every few seconds."""

from __future__ import annotations

import logging
import time
from typing import Any

from ray import tune

_log = logging.getLogger(__name__)

_SECONDS = 10.0
"""Between two lines."""


class SearchProgress(tune.Callback):  # type: ignore[misc]
    """Prints the number of finished trials and the best metric so far."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.done, self.total, self.best, self.printed = 0, 0, float("-inf"), 0.0

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **_: Any) -> None:
        """Notes the number of trials."""
        self.total = total_num_samples or 0

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Prints that a trial is tried again."""
        _log.info("a trial failed and is tried again")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Counts the trial and prints a line if it is time."""
        self.done += 1
        result = trial.last_result or {}
        if result.get("share") == 1:  # a smaller gallery is easier
            self.best = max(self.best, result.get(self.metric, self.best))
        if time.monotonic() - self.printed >= _SECONDS or self.done == self.total:
            self.printed = time.monotonic()
            best = f"; best {self.metric} so far {100 * self.best:.2f}" if self.best >= 0 else ""
            _log.info(f"{self.done} of {self.total or '?'} trials{best}")
