from __future__ import annotations

from pipeline.diagnosis.finding import Finding, as_text


def test_findings_stand_below_their_topics_with_what_mends_them() -> None:
    text = as_text(
        [
            Finding("versions", "ray", "ok", "2.60.0"),
            Finding("versions", "torch", "problem", "is not installed", "pip install torch"),
            Finding("Ray", "/dev/shm", "warning", "too small"),
            Finding("Ray", "a\x1b[31m", "warning", "b\nc"),
        ]
    )
    assert text.splitlines() == [
        "versions",
        "  ok       ray: 2.60.0",
        "  problem  torch: is not installed",
        "           -> pip install torch",
        "",
        "Ray",
        "  warning  /dev/shm: too small",
        r"  warning  a\x1b[31m: b\nc",
        "",
        "1 problem, 2 warnings",
    ]


def test_nothing_wrong() -> None:
    assert as_text([Finding("versions", "ray", "ok", "2.60.0")]).splitlines()[-1] == "everything is fine"
