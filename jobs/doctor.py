"""Check the installation: versions, machine, GPUs, models, photo formats, Ray, and what listens where.

Examples:
  qpert doctor                       a few seconds; starts nothing and asks nobody
  qpert doctor --ray                 also starts a Ray session, as a run does, and says what it listens on
  qpert doctor --online              also asks the Hugging Face hub, from which published weights come
  qpert doctor --json doctor.json    the findings as a file, to attach to a report of a problem

Every line is ok, a warning (something is slower, or cannot be used by those who want it) or a problem (something that
is needed does not work); the line below it, after ->, mends it. The exit code is 1 if there is a problem, else 0.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import ReportPath


class Config(BaseModel):
    """How far to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ray: bool = Field(False, description="also start a Ray session and stop it again")
    online: bool = Field(False, description="also ask the Hugging Face hub")
    json_file: ReportPath | None = Field(
        None, description="write the findings to this file as well", json_schema_extra={"flag": "--json"}
    )


def run(config: Config) -> int:
    """Prints the findings; returns 1 if something that is needed does not work."""
    from pipeline.diagnosis.finding import as_text
    from pipeline.diagnosis.folders import check_folders, usual_folders
    from pipeline.diagnosis.gpus import ask_torch, check_gpus, cuda_of_torch, find_cards
    from pipeline.diagnosis.listening import check_listeners, ray_listeners
    from pipeline.diagnosis.machine import check_machine
    from pipeline.diagnosis.models import check_hub, check_models
    from pipeline.diagnosis.packages import check_packages
    from pipeline.diagnosis.photos import check_formats
    from pipeline.diagnosis.sessions import check_sessions, try_session

    cards = find_cards()
    usable, architectures = ask_torch() if cards else (False, [])
    findings = [
        *check_packages(),
        *check_machine(),
        *check_gpus(cards, usable, architectures, cuda_of_torch()),
        *check_models(),
        *([check_hub()] if config.online else []),
        *check_formats(),
        *check_folders(usual_folders()),
        *check_sessions(),
        *(try_session() if config.ray else check_listeners(ray_listeners())),
    ]
    print(as_text(findings))
    problems = any(finding.state == "problem" for finding in findings)
    if config.json_file:
        figures = {"problems": problems, "findings": [dataclasses.asdict(finding) for finding in findings]}
        Path(config.json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if problems else 0
