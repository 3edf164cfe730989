"""Ray Tune over settings: each trial asks the trial server for its metrics, so it costs a message and no model.

Tune keeps its own record of the experiment, from which a killed search goes on. The trial server keeps all outcomes, so
that repeated trials find their answers.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import create_scheduler
from ray.tune.search import BasicVariantGenerator, create_searcher

from pipeline.cluster.ray_compat import HEAD_NODE, TUNE_SNAPSHOT, TUNE_VARIABLES, searchers_and_schedulers
from pipeline.errors import QpertError
from pipeline.tuning.objective import Objective
from pipeline.tuning.own_record import is_own, mark_as_own
from pipeline.tuning.progress import SearchProgress
from pipeline.tuning.space import Range, Space, Value

_HERE = {HEAD_NODE: 0.001}
"""The resources of a trial: no CPU, since the models have them all, but Ray Tune needs it to reserve something."""
_RETRIES = 3
_ALIASES = {"asha": "async_hyperband"}


@dataclass(frozen=True)
class Search:
    """How settings are chosen.

    Attributes:
        objective: what to maximise.
        searcher: "grid", "random", or another name that `ray.tune.search.create_searcher` knows, such as "optuna".
        searcher_options: its arguments.
        trials: number of trials, unless the search is a grid.
        scheduler: "fifo", or another name that `ray.tune.schedulers.create_scheduler` knows, such as "asha".
        scheduler_options: its arguments.
        shares: growing shares of the photos that a trial is measured on, for schedulers that stop bad ones early.
        concurrent: number of trials at a time.
        seed: seed of random searchers.
    """

    objective: Objective = field(default_factory=lambda: Objective("R@1"))
    searcher: str = "grid"
    searcher_options: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 50
    scheduler: str = "fifo"
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    shares: tuple[float, ...] = (1.0,)
    concurrent: int = 8
    seed: int = 0

    @property
    def metric(self) -> str:
        """The name of what is maximised."""
        return self.objective.name

    def identity(self) -> dict[str, Any]:
        """What makes two searches the same: all but the number of trials at a time."""
        fields = {name: value for name, value in vars(self).items() if name not in ("concurrent", "objective")}
        of_objective = vars(self.objective) if self.objective.draws else {}
        return {**fields, "metric": self.metric, **of_objective}

    def check(self) -> None:
        """Raises a QpertError for unknown searchers and schedulers, before any work starts."""
        self._algorithm()
        self._scheduler()
        if sorted(self.shares) != [*self.shares] or self.shares[-1] != 1 or self.shares[0] <= 0:
            raise QpertError(f"shares of the photos grow up to 1, as 0.1 0.3 1: not {' '.join(map(str, self.shares))}")

    def param_space(self, space: Space) -> dict[str, Any]:
        """The space that Tune draws `setting` from, with the searched fields."""
        if self.searcher == "grid":
            return {"setting": tune.grid_search(space.grid())}
        return {"setting": {name: _domain(values) for name, values in space.fields.items()}}

    def config(self) -> Any:
        """Tune's own configuration."""
        return tune.TuneConfig(
            metric=self.metric,
            mode="max",
            search_alg=self._algorithm(),
            scheduler=self._scheduler(),
            num_samples=1 if self.searcher == "grid" else self.trials,
            max_concurrent_trials=self.concurrent,
            reuse_actors=True,
        )

    def _algorithm(self) -> Any:
        if self.searcher in ("grid", "random"):
            if self.searcher_options:
                raise QpertError(f"--search {self.searcher} takes no --search-options, only --seed and --trials")
            return BasicVariantGenerator(random_state=self.seed, max_concurrent=self.concurrent)
        known, _ = searchers_and_schedulers()
        if self.searcher not in known:
            raise QpertError(f"unknown --search {self.searcher!r}; Ray Tune has: grid, {', '.join(known)}")
        seed = {}
        if self.searcher == "optuna":
            logging.getLogger("optuna").setLevel(logging.WARNING)
            seed = {"seed": self.seed}
        try:
            return create_searcher(self.searcher, **{**seed, **self.searcher_options})
        except (ImportError, AssertionError) as error:
            raise QpertError(f"--search {self.searcher} needs a package that is not installed: {error}") from error
        except (TypeError, ValueError) as error:
            raise QpertError(f"--search {self.searcher} does not take these --search-options: {error}") from error

    def _scheduler(self) -> Any:
        name = _ALIASES.get(self.scheduler, self.scheduler)
        _, known = searchers_and_schedulers()
        if name not in known:
            names = ", ".join([*_ALIASES, *known])
            raise QpertError(f"unknown --scheduler {self.scheduler!r}; Ray Tune has: {names}")
        options = dict(self.scheduler_options)
        if name == "async_hyperband":
            options = {"time_attr": "training_iteration", "max_t": len(self.shares), **options}
        try:
            return create_scheduler(name, **options)
        except (TypeError, ValueError, AssertionError) as error:
            raise QpertError(f"--scheduler {self.scheduler} does not take these options: {error}") from error


def run_search(search: Search, space: Space, server: Any, folder: Path) -> tuple[list[dict[str, Value]], list[str]]:
    """Runs the search to its end, resuming the one in `folder` if there is one; in the current Ray session.

    Args:
        search: how settings are chosen.
        space: the settings to choose from.
        server: handle of the `TrialServer` actor.
        folder: for Tune's own record and TensorBoard's logs.

    Returns:
        The chosen values of every trial that was measured on all photos; and a line for every trial that failed for
        good.

    Raises:
        QpertError: Ray Tune itself gave up.
        KeyboardInterrupt: its text says what to do next.
    """
    os.environ.update({name: value for name, value in TUNE_VARIABLES.items() if name not in os.environ})
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    parameters = tune.with_parameters(
        _trial, server=server, space=space, shares=search.shares, objective=search.objective
    )
    trainable: Any = tune.with_resources(parameters, _HERE)
    if _has_record(folder) and _keeps_own_record(folder):
        tuner = tune.Tuner.restore(str(folder), trainable, resume_unfinished=True, restart_errored=True)
    else:
        mark_as_own(folder)
        run = tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.absolute()),
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
            callbacks=[SearchProgress(search.metric)],
            verbose=0,
        )
        tuner = tune.Tuner(
            trainable, param_space=search.param_space(space), tune_config=search.config(), run_config=run
        )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        results = tuner.fit()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to go on where it stopped") from None
    except tune.TuneError as error:
        raise QpertError(f"Ray Tune gave up: {_last_line(error)}; run the same command again to go on") from error
    finally:
        for number, handler in handlers.items():  # Tune never restores them
            signal.signal(number, handler)
    chosen = [
        dict(trial.config["setting"])
        for trial in results
        if trial.error is None and trial.metrics and trial.metrics.get("share") == 1.0
    ]
    return chosen, [failure_line(trial) for trial in results if trial.error is not None]


def failure_line(trial: Any) -> str:
    """A trial that failed for good: its setting, which Tune knows only of trials that have reported, and the reason."""
    setting = (trial.config or {}).get("setting", "a setting that was not measured at all")
    return f"{setting}: {_last_line(trial.error)}"


def _has_record(folder: Path) -> bool:
    """Whether there is a search to resume. Deletes the record of one that was killed before its first snapshot."""
    if not tune.Tuner.can_restore(str(folder)):
        return False
    if any(folder.glob(TUNE_SNAPSHOT)):
        return True
    shutil.rmtree(folder)
    return False


def _keeps_own_record(folder: Path) -> bool:
    """Whether this user began the search. Deletes a record from elsewhere, since it holds pickles."""
    if is_own(folder):
        return True
    warnings.warn(
        f"{folder} was not begun by you on this machine, so Ray Tune's record in it, which could run programs, is not"
        " opened; the search starts again, and uses the outcomes measured so far",
        stacklevel=3,
    )
    shutil.rmtree(folder)
    return False


def _trial(config: dict[str, Any], server: Any, space: Space, shares: Sequence[float], objective: Objective) -> None:
    """Measures one setting, with its controls if the objective has any, on growing shares of the photos."""
    setting = space.setting(config["setting"])
    others = [None, *objective.controls(setting)] if objective.draws else []
    for share in shares:
        # Asked together, so that they are embedded in one pass.
        own, *controls = ray.get([server.ask.remote(one, share) for one in (setting, *others)])
        plain, shuffled = (controls[0], controls[1:]) if controls else (own, [])
        tune.report({**own, **objective.score(own, shuffled, plain), "share": share})


def _domain(values: Sequence[Value] | Range) -> Any:
    if not isinstance(values, Range):
        return tune.choice([*values])
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def _last_line(error: BaseException) -> str:
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)[:300]
