"""Image tokens on disk, beside the features: what the backbone made of each photo, to be perturbed again and again.

`OUT`/tokens/NAME.safetensors holds one tensor [b, N, C] for each call of the model, in its dtype; the column `tokens`
of the features says where a photo's are. The calls are kept apart because the last bits of a matrix product depend on
its shape: photos that are embedded again in the same company get the same vectors, bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Collection, Sequence

import pyarrow as pa
import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import QpertError, first_line
from pipeline.io.locations import is_uri, join, list_files, locate, write_atomically

TOKENS = pa.field("tokens", pa.struct([("file", pa.string()), ("call", pa.int32()), ("row", pa.int32())]))
"""The column of the features: file, call of the model in it, and row of that; null for a photo that failed."""


_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\.safetensors")


def write_shard(out: str, ids: Sequence[str], calls: Sequence[Tensor]) -> str:
    """Write the tokens of some photos and return the file's name; the same photos overwrite what an attempt left.

    Args:
        out: folder or URI of the feature set.
        ids: of the photos.
        calls: tokens [b, N, C] of each call of the model.
    """
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:20] + ".safetensors"
    tensors = {str(number): call.contiguous().cpu() for number, call in enumerate(calls)}
    write_atomically(join(out, "tokens", name), safetensors.torch.save(tensors))
    return name


def read_shard(out: str, name: str) -> dict[int, Tensor]:
    """Call -> tokens [b, N, C]. A local file is mapped, so that all processes of a machine share its pages.

    Raises:
        QpertError: `name`, which the features state, is no name of such a file; it is not there, or damaged.
    """
    if not _NAME.fullmatch(name):
        raise QpertError(f"{out}: the features name tokens that are no file of theirs: {name[:100]!a}")
    path = join(out, "tokens", name)
    try:
        if not is_uri(path):
            if os.path.exists(path) and not os.path.isfile(path):
                raise QpertError(f"cannot read the image tokens {path}: it is not a file")
            with safe_open(path, "pt") as file:
                return {int(call): file.get_tensor(call) for call in file.keys()}  # noqa: SIM118 - it is no mapping
        filesystem, inner = locate(path)
        with filesystem.open_input_stream(inner) as stream:
            return {int(call): tokens for call, tokens in safetensors.torch.load(stream.read()).items()}
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise QpertError(f"cannot read the image tokens {path}: {first_line(error)[:200]}; index again") from error


def remove_others(out: str, names: Collection[str]) -> int:
    """Remove the files that no photo refers to, which interrupted runs have left; returns how many."""
    filesystem, _ = locate(out)
    left = [info.path for info in list_files(join(out, "tokens")) if posixpath.basename(info.path) not in names]
    for path in left:
        filesystem.delete_file(path)
    return len(left)


def shard_bytes(out: str) -> int:
    """What the tokens take on disk."""
    return sum(info.size or 0 for info in list_files(join(out, "tokens")))
