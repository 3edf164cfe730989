from __future__ import annotations

import pytest

from pipeline.errors import QpertError, first_line, one_line


def test_one_line_has_the_type_of_all_but_our_own_errors() -> None:
    assert one_line(QpertError("truncated image")) == "truncated image"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(KeyError("x\ny")) == "KeyError: 'x\\ny'"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (RuntimeError("Error(s) in loading state_dict for CLIP:\n\tMissing key(s): a.\n\tb"),
         "Error(s) in loading state_dict for CLIP: Missing key(s): a."),
        (RuntimeError("nothing follows:"), "nothing follows:"),
        (KeyError("added_tokens"), "'added_tokens' is missing"),
        (AssertionError(), "AssertionError"),
    ],
)  # fmt: skip
def test_the_first_line_tells_what_is_wrong(error: Exception, line: str) -> None:
    assert first_line(error) == line
