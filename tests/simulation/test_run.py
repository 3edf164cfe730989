"""Simulated plans: the layout is that of a run, and the figures follow from machines, speeds, failures and prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from pipeline.cluster.machines import Machines
from pipeline.errors import QpertError
from pipeline.features.file_sizes import block_rows, file_rows
from pipeline.runs.spec import IndexSpec
from pipeline.simulation.options import SimulateConfig
from pipeline.simulation.report import SimulatedCosts, costs_of
from pipeline.simulation.run import SimulatedPlan, simulate_plan
from pipeline.simulation.store_requests import A_FILE, A_PHOTO, A_RUN

GPUS: dict[str, Any] = {"gpus": ("A100=8", "T4=8"), "encode": ("A100=50", "T4=10"), "failures": 0}


def simulated(photos: int, **options: Any) -> tuple[SimulatedPlan, SimulatedCosts]:
    chosen = SimulateConfig(**{**GPUS, **options})
    plan = simulate_plan(IndexSpec(source="none", out="none"), chosen, photos)
    return plan, costs_of(plan, chosen, {"A100": 3.0, "cpu": 0.1})


def test_the_layout_is_the_one_that_a_run_has() -> None:
    plan, costs = simulated(100_000)
    assert plan.machines == Machines(4 * 32.0, plan.machines.gpus, nodes=4)
    [pool] = plan.layout.pools.values()
    assert (pool.size, pool.num_gpus) == (16, 1)
    assert plan.layout.block_rows == block_rows(100_000)
    assert plan.layout.file_rows == file_rows(100_000, plan.layout.block_rows, (plan.row_bytes - 300) // 2)
    assert costs.rate == pytest.approx(8 * 50 + 8 * 10, rel=0.15)
    assert costs.shares["encode"] == pytest.approx(1, abs=0.15)
    assert costs.device_hours == {"A100": 8 * costs.hours, "T4": 8 * costs.hours, "cpu": 128 * costs.hours}
    assert costs.device_prices["A100"] == pytest.approx(24 * costs.hours)


def test_two_stages_share_the_gpus() -> None:
    plan, costs = simulated(20_000, detect=("A100=400", "T4=100"))
    assert [(name, pool.num_gpus) for name, pool in plan.layout.pools.items()] == [("detect", 0.5), ("encode", 0.5)]
    assert costs.shares["detect"] < costs.shares["encode"]


def test_one_driver_is_the_limit_and_parts_at_once_are_the_way_out() -> None:
    many = {"gpus": ("A100=400",), "encode": ("A100=100",)}
    one, costs = simulated(1_000_000, **many)
    assert costs.driver_share > 0.9
    four, at_once = simulated(1_000_000, **many, parts=4, at_once=4)
    assert four.seconds < one.seconds / 2
    assert at_once.driver_share > 0.5
    assert at_once.driver_bytes < costs.driver_bytes


def test_requests_and_their_price() -> None:
    plan, costs = simulated(10_000, put_price=5, get_price=1, gb_price=2)
    files = plan.runs[0].files
    assert costs.writes == pytest.approx(10_000 * A_PHOTO.puts + files * A_FILE.puts + A_RUN.puts)
    assert costs.reads == pytest.approx(10_000 * A_PHOTO.gets + files * A_FILE.gets + A_RUN.gets)
    assert costs.store_price == pytest.approx(costs.writes * 0.005 + costs.reads * 0.001 + 1.5 * 2)
    _, tars = simulated(10_000, tars=True)
    assert tars.reads == pytest.approx(10 * (2 + 150e6 / 2**23) + files * A_FILE.gets + A_RUN.gets)


def test_failures_cost_work_and_time() -> None:
    _, calm = simulated(200_000)
    _, rough = simulated(200_000, failures=100)
    assert calm.failures == calm.repeated == calm.lost_share == 0
    assert rough.failures > 0
    assert 0 < rough.lost_share < 0.5
    assert rough.hours > calm.hours


def test_wrong_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(QpertError, match=r"--simulate.encode does not say .* T4"):
        simulated(1000, encode=("A100=50",))
    with pytest.raises(QpertError, match="more parts than GPUs of a type"):
        simulated(1000, parts=20, at_once=20)
    assert cli.main(["plan"]) == 2
    assert "SOURCE is missing" in capsys.readouterr().err
    assert cli.main(["plan", "--simulate", "A100=8"]) == 2
    assert "--photos N" in capsys.readouterr().err
    assert cli.main(["plan", "--simulate", "A100", "--photos", "5"]) == 2
    assert "write NAME=NUMBER, such as A100=400" in capsys.readouterr().err


def test_the_command_prints_and_writes_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "plan",
        "--simulate",
        "A100=8",
        "--simulate.encode",
        "A100=50",
        "--photos",
        "50000",
        "--prices",
        "A100=3.70",
    ]
    assert cli.main([*words, "--simulate.parts", "2", "--json", str(tmp_path / "plan.json")]) == 0
    said = capsys.readouterr().out
    assert "SIMULATED" in said
    assert "50,000 in 2 parts, 1 at a time" in said
    figures = json.loads((tmp_path / "plan.json").read_text())
    assert figures["hours"] > 50_000 / 400 / 3600
    assert figures["device_prices"]["A100"] == pytest.approx(8 * 3.7 * figures["hours"])
