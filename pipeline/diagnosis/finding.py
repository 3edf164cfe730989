"""One thing that was looked at, and how findings are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.printing import printable

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        topic: heading under which it is printed.
        name: what was looked at.
        state: `problem` if something that is needed does not work.
        text: what was found there.
        remedy: the command, or the setting, that mends it; "" if nothing is to be done.
    """

    topic: str
    name: str
    state: State
    text: str
    remedy: str = ""


def as_text(findings: Iterable[Finding]) -> str:
    """A line per finding below its topic, a further line for its remedy, and the sum of them at the end."""
    lines: list[str] = []
    topic, counts = None, {"warning": 0, "problem": 0}
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += ["", topic] if lines else [topic]
        lines.append(f"  {finding.state:<7}  {printable(finding.name)}: {printable(finding.text)}")
        if finding.remedy:
            lines.append(f"           -> {printable(finding.remedy)}")
        if finding.state != "ok":
            counts[finding.state] += 1
    said = [f"{count} {name}{'s' * (count > 1)}" for name, count in reversed(counts.items()) if count]
    return "\n".join([*lines, "", ", ".join(said) or "everything is fine"])
