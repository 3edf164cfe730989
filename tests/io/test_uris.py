"""Keys in URIs: found, taken out, and hidden in messages, however they are written."""

from __future__ import annotations

import logging
import os

import pytest
from pydantic import BaseModel, ValidationError

from jobs.cli.messages import MessageFormatter
from pipeline.errors import QpertError
from pipeline.io.locations import Folder, answering
from pipeline.io.paths import PathText
from pipeline.io.uris import keys_in, masked, without_keys

SECRET = "wJalr/XUtn+FEMI"
ENCODED = "wJalr%2FXUtn%2BFEMI"


class Options(BaseModel):
    out: PathText


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)


@pytest.mark.parametrize("secret", [SECRET, ENCODED])
def test_keys_leave_an_option_for_the_environment(secret: str) -> None:
    assert Options(out=f"s3://AKIA:{secret}@bucket/a@b/c?region=x").out == "s3://bucket/a@b/c?region=x"
    assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("AKIA", SECRET)
    assert Options(out=f"S3://AKIA:{secret}@bucket").out == "S3://bucket"
    with pytest.raises(ValidationError, match="its key is not that of AWS_ACCESS_KEY_ID"):
        Options(out="s3://OTHER:key@bucket")


@pytest.mark.parametrize("secret", [SECRET, ENCODED])
def test_keys_are_refused_elsewhere_and_not_shown(secret: str) -> None:
    with pytest.raises(QpertError, match=r"^s3://\*\*\*@bucket/x: .*set AWS_ACCESS_KEY_ID and") as refused:
        Folder.open(f"s3://AKIA:{secret}@bucket/x")
    with pytest.raises(QpertError, match=r"s3://\*\*\*@bucket/y") as quoted, answering(f"s3://AKIA:{secret}@bucket/y"):
        raise OSError(f"s3://AKIA:{secret}@bucket/y did not answer")
    record = logging.LogRecord("x", logging.ERROR, "", 0, f"--out: wrong, not 's3://AKIA:{secret}@bucket'", None, None)
    for text in (str(refused.value), str(quoted.value), MessageFormatter().format(record)):
        assert "wJalr" not in text
        assert "FEMI" not in text


def test_what_is_no_key_stays() -> None:
    for text in (
        "s3://bucket/a:b@c",
        "http://localhost:9000/x",
        "mail a@b.c",
        "s3://bucket/x?endpoint_override=h:9000",
    ):
        assert masked(text) == text
        assert keys_in(text) is None
        assert without_keys(text) == text
    assert masked("http://user:word@proxy:3128 and s3://K:S@b/x") == "http://***@proxy:3128 and s3://***@b/x"
