"""From the arguments of a function to a checked model of options."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import QpertError
from pipeline.io.s3 import ask_buckets

Model = TypeVar("Model", bound=BaseModel)


def check_options(model: type[Model], /, **values: Any) -> Model:
    """Builds a model of options as the command line would.

    A group of options may be given by its main one (`detector="yolo11n"` for `detector={"model": "yolo11n"}`), and a
    path as a `Path`.

    Raises:
        QpertError: an unknown option, or a value that the model refuses, one line for each; or a bucket does not
            answer.
    """
    for name, value in values.items():
        if isinstance(value, os.PathLike):
            values[name] = os.fspath(value)
        extra = model.model_fields[name].json_schema_extra if name in model.model_fields else None
        if isinstance(value, str | list | tuple) and isinstance(extra, dict) and "short" in extra:
            values[name] = {extra["short"]: value}
    try:
        options = model(**values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = ".".join(map(str, problem["loc"]))
            if problem["type"] == "extra_forbidden":
                near = get_close_matches(name, model.model_fields, 1)
                lines.append(f"there is no option {name}" + (f"; did you mean {near[0]}?" if near else ""))
            else:
                lines.append(f"{name}: {problem['msg']}, not {problem['input']!r}")
        raise QpertError("\n".join(lines)) from error
    ask_buckets(options.model_dump())
    return options
