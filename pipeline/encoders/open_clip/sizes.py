"""The sizes of one of open_clip's models, by its name."""

from __future__ import annotations

from pipeline.encoders.open_clip.table import OpenClipModel, open_clip_models
from pipeline.encoders.spec import EncoderSpec

HUB = "hf-hub:"


def find_model(name: str) -> OpenClipModel:
    """A model by open_clip's name, with or without `:TAG`, or by `hf-hub:org/name` of a repository in the table.

    A model that the table does not have yet is measured: that imports open_clip, and takes seconds.

    Raises:
        KeyError: open_clip knows no such model.
    """
    models = open_clip_models()
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        for model in models.values():
            if repository in model.weights.values():
                return model
        raise KeyError(name)
    model_name = name.partition(":")[0]
    if model_name in models:
        return models[model_name]
    import open_clip

    from pipeline.encoders.open_clip.measuring import measure

    config = open_clip.get_model_config(model_name)
    if config is None:
        raise KeyError(name)
    return measure(config, model_name)


def model_sizes(name: str) -> EncoderSpec:
    """The sizes of a model without building it; see `find_model`.

    Raises:
        KeyError: open_clip knows no such model.
        RuntimeError, TypeError, ValueError: a model that is not in the table, and cannot be measured.
    """
    return find_model(name).spec
