"""Image tokens on disk, beside the features: what the backbone made of each photo, to be perturbed again and again.

``tokens/NAME.safetensors`` holds one tensor [b, N, C] for each call of the model, in its dtype; the column `tokens` of
the features tells where a photo's tokens are. Calls stay apart because the last bits of a matrix product depend on its
shape: photos that are embedded again in the same batch get the same vectors, bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs
from safetensors import SafetensorError, safe_open

from pipeline.errors import QpertError, first_line
from pipeline.io.locations import Folder

# safetensors.torch imports torch, which those who only open a feature set do without: it is imported in functions.
if TYPE_CHECKING:
    from torch import Tensor

TOKENS = pa.field("tokens", pa.struct([("file", pa.string()), ("call", pa.int32()), ("row", pa.int32())]))
"""The column of the features: file, call of the model, and row in its tensor; null for a photo that failed."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\.safetensors")


@dataclass(frozen=True)
class TokenFiles:
    """The token files of a feature set.

    Attributes:
        folder: the one they are in.
    """

    folder: Folder

    def write(self, ids: Sequence[str], calls: Sequence[Tensor]) -> str:
        """Write the tokens of some photos; the same photos overwrite what an earlier attempt wrote.

        Args:
            ids: of the photos.
            calls: tokens [b, N, C] of each call of the model.

        Returns:
            The name of the file.
        """
        from safetensors.torch import save

        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:20] + ".safetensors"
        tensors = {str(number): call.contiguous().cpu() for number, call in enumerate(calls)}
        self.folder.write_atomically(name, save(tensors))
        return name

    def read(self, name: str) -> dict[int, Tensor]:
        """Call -> tokens [b, N, C]. A local file is mapped, so that all processes of a machine share its pages.

        Raises:
            QpertError: `name`, which the features state, is not the name of such a file; or it is missing or damaged.
            OSError: a bucket does not answer.
        """
        from safetensors.torch import load

        shown, path = self.folder.join(name), self.folder.at(name)
        if not _NAME.fullmatch(name):
            raise QpertError(f"the features name image tokens that cannot be in {self.folder.root}: {name[:100]!a}")
        local = isinstance(self.folder.filesystem, fs.LocalFileSystem)
        data = None if local else self.folder.read(name)
        try:
            if local:
                if os.path.exists(path) and not os.path.isfile(path):
                    raise QpertError(f"cannot read the image tokens {shown}: it is not a file")
                with safe_open(path, "pt") as file:
                    return {int(call): file.get_tensor(call) for call in file.keys()}  # noqa: SIM118 - not a mapping
            if data is None:
                raise FileNotFoundError("it does not exist")
            return {int(call): tokens for call, tokens in load(data).items()}
        except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise QpertError(f"cannot read the image tokens {shown}: {first_line(error)[:200]}; index again") from error

    def remove_others(self, names: Collection[str]) -> int:
        """Delete all files but `names`, which interrupted runs have left; returns how many."""
        others = [info.base_name for info in self.folder.files() if info.base_name not in names]
        for name in others:
            self.folder.delete(name)
        return len(others)

    def bytes(self) -> int:
        """Their size on disk."""
        return sum(info.size or 0 for info in self.folder.files())
