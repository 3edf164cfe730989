"""Exports the text towers of the bundled encoders to ONNX, see `pipeline.encoders.text_towers`.

After a training into `pipeline/miniature/`: `python -m pipeline.miniature.text_tower_export` (half a minute; needs onnx
and onnxscript, which `pip install -e .[dev]` installs).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.encoders import load_encoder, miniature_encoders, resolve_weights
from pipeline.encoders.base import Encoder
from pipeline.encoders.text_towers import DIGEST, FOLDER, TextInputs, text_inputs
from pipeline.errors import QpertError
from pipeline.features.fingerprint import weights_identity

_SAMPLES = ("a tiny red star", "a huge black moon above a blue circle")
"""Two texts, so that the number of texts is not taken for a constant."""
_SMALL = 1024
"""Bytes of a tensor below which halving is not worth a node."""


class _Tower(nn.Module):
    """From ids int64 [T, L] to unit vectors [T, D], as a module to export."""

    def __init__(self, encoder: Encoder, inputs: TextInputs) -> None:
        super().__init__()
        self.model = encoder.model  # type: ignore[attr-defined]
        self.encoder, self.inputs = encoder, inputs

    def forward(self, ids: Tensor) -> Tensor:
        return self.inputs.embed(self.encoder, ids)


def export_text_towers(out: Path = FOLDER) -> list[Path]:
    """Write the text tower of each bundled encoder, with the digest of its weights.

    Args:
        out: the folder; only files in the default one are used.

    Raises:
        QpertError: the packages for exporting are missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter imports it, and says less clearly that it is missing
    except ImportError as error:
        raise QpertError(f"exporting needs {error.name}: pip install onnx onnxscript") from error
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name in miniature_encoders():
        path = out / f"{name}.onnx"
        inputs = text_inputs(name)
        tower = _Tower(load_encoder(name), inputs).eval()
        ids = torch.from_numpy(inputs.ids(_SAMPLES))
        with torch.no_grad():
            torch.onnx.export(
                tower,
                (ids,),
                str(path),
                input_names=["ids"],
                output_names=["vectors"],
                dynamic_shapes={"ids": {0: torch.export.Dim("texts", min=1)}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        model = onnx.load(str(path))
        _strip(model)
        _halve(model)
        onnx.helper.set_model_props(model, {DIGEST: weights_identity(resolve_weights(name, None))["digest"]})
        if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
            raise RuntimeError(f"torch took the number of texts for a constant in {path}")
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
        written.append(path)
    return written


def _strip(model: Any) -> None:
    """Remove the exporter's notes, which hold file names and stack traces of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.ClearField("doc_string")
    del model.metadata_props[:]


def _halve(model: Any) -> None:
    """Store numbers in half precision where that loses nothing, as in the weights, and cast them on loading."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.raw_data) < _SMALL:
            continue
        values = numpy_helper.to_array(tensor)
        halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            name, half = tensor.name, f"{tensor.name}.half"
            tensor.CopyFrom(numpy_helper.from_array(halves, half))
            casts.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


if __name__ == "__main__":
    for path in export_text_towers():
        print(path)
