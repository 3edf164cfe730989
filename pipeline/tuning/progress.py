"""How far a search is, in one line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

_SECONDS = 10.0
"""Between two lines."""


def progress(metric: str) -> Any:
    """A callback that says how far the search is, now and then."""
    from ray import tune

    class Progress(tune.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.done, self.best, self.said, self.all = 0, float("-inf"), 0.0, 0

        def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **_: Any) -> None:
            self.all = total_num_samples or 0

        def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            print("a trial failed and is tried again", file=sys.stderr, flush=True)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self.done += 1
            last = trial.last_result or {}
            if last.get("share") == 1:  # a smaller gallery is easier
                self.best = max(self.best, last.get(metric, self.best))
            if time.monotonic() - self.said >= _SECONDS or self.done == self.all:
                self.said = time.monotonic()
                best = f"; best {metric} so far {100 * self.best:.2f}" if self.best >= 0 else ""
                print(f"{self.done} of {self.all or '?'} trials{best}", file=sys.stderr, flush=True)

    return Progress()
