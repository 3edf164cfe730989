"""One build of a set at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.vectors.links import check_no_links
from pipeline.vectors.versions import SEARCH


@contextmanager
def index_lock(features: FeatureSet) -> Iterator[None]:
    """Keep other processes from writing to the indexes of a set, see `Folder.exclusive`.

    Raises:
        QpertError: another one does, they cannot be written to, or a link leads out of them.
    """
    check_no_links(features.folder)
    search = features.folder.subfolder(SEARCH)
    with ExitStack() as stack:
        try:
            stack.enter_context(search.exclusive())
        except QpertError:
            raise QpertError(f"another process is building an index of {features.root}; wait until it ends") from None
        except OSError as error:
            raise QpertError(
                f"{search.root} cannot be written to ({error.strerror or error}), and an index is beside its features"
            ) from error
        yield
