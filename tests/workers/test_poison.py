from __future__ import annotations

from pipeline.workers.poison import PoisonRecord, work_name


def test_a_second_beginning_counts_as_a_death() -> None:
    record = PoisonRecord()
    assert [record.enter("a"), record.enter("b"), record.enter("a"), record.enter("a")] == [0, 0, 1, 2]
    record.leave("a")
    assert [record.enter("a"), record.enter("b")] == [0, 1]


def test_the_name_of_work_depends_on_stage_and_photos() -> None:
    names = {work_name(stage, ids) for stage in ("detect", "encode") for ids in (["a"], ["b"], ["a", "b"], ["\udce9"])}
    assert len(names) == 8
    assert work_name("encode", ["a"]) == work_name("encode", ["a"])
