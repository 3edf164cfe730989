from __future__ import annotations

from pipeline.errors import QpertError, one_line


def test_one_line_has_the_type_of_all_but_our_own_errors() -> None:
    assert one_line(QpertError("truncated image")) == "truncated image"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(KeyError("x\ny")) == "KeyError: 'x\\ny'"
