"""A set that is served: opened anew when it changes, while requests in flight keep the old one."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from pipeline.datasets.photos.patterns import is_pattern
from pipeline.errors import QpertError, first_line
from pipeline.queries.searching import Collection
from pipeline.retrieval.several_sets import find_sets
from pipeline.serving.embedding import ServedEncoder
from pipeline.serving.errors import RequestError
from pipeline.serving.models import SetInfo
from pipeline.vectors.versions import current_version

SECOND_LOOK = 0.5
"""Seconds after which a set that could not be opened is tried once more: it may have been caught in the middle."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenedSet:
    """A set as it was when it was opened.

    Attributes:
        name: under which it is served.
        collection: its photos and vectors.
        encoder: of queries.
        info: what clients are told of it.
        version: other than before whenever answers may be.
        opened: when, as Unix time.
    """

    name: str
    collection: Collection
    encoder: ServedEncoder
    info: SetInfo
    version: str
    opened: float

    def uri_of(self, image_id: str, part: str = "") -> str | None:
        """Where a photo of the set is.

        Args:
            image_id: of the photo.
            part: name of the folder that has it, of a set of several.

        Raises:
            RequestError: 404 where the set has no such photo.
        """
        for one in self.collection.sets:
            if part in ("", one.name):
                photos = one.snapshot.photos
                number = photos.number_of(image_id)
                if number is not None:
                    uri: str | None = photos.rows([number], ["uri"])[0]["uri"]
                    return uri
        raise RequestError(404, f"the set {self.name} has no such photo")


def version_of(root: str) -> str:
    """The state of what a path, URI or pattern names on disk, as `version_text` has it; no file is read.

    Raises:
        QpertError, OSError: it is not there.
    """
    roots = find_sets([root]) if is_pattern(root) else [root]
    return version_text("+".join(current_version(one) for one in roots))


def version_text(version: str) -> str:
    """The version of a collection, short enough for cursors."""
    return hashlib.sha256(version.encode()).hexdigest()[:16]


class ServedSet:
    """A set under its name, in its newest state.

    Args:
        name: under which it is served.
        root: path, URI or pattern.
        opener: opens it.
        noted: is called after each change with the state as it is now (None: it cannot be searched).
    """

    def __init__(
        self,
        name: str,
        root: str,
        opener: Callable[[], OpenedSet],
        noted: Callable[[str, OpenedSet | None], None] = lambda name, opened: None,
    ) -> None:
        self.name, self.root = name, root
        self._opener, self._noted = opener, noted
        self._opened: OpenedSet | None = None
        self._info: SetInfo | None = None
        self.problem: str | None = None
        self._lock = Lock()

    def open(self) -> None:
        """Opens the set for the first time.

        Raises:
            QpertError, OSError: it cannot be opened.
        """
        self._take(self._opener())

    def current(self) -> OpenedSet:
        """The set as it is now; whoever has it may go on with it, whatever happens to the set.

        Raises:
            RequestError: 503 where it cannot be searched now.
        """
        opened, problem = self._opened, self.problem
        if opened is None:
            raise RequestError(503, f"the set {self.name} cannot be searched now: {problem}", retry_after=5)
        return opened

    def info(self) -> SetInfo | None:
        """What is known of the set, also while it cannot be searched."""
        return self._info

    def check(self) -> bool:
        """Looks whether the set has changed, and opens it anew if so; returns whether it can be searched."""
        with self._lock:
            try:
                version = version_of(self.root)
            except (QpertError, OSError) as error:
                self._fail(error)
                return False
            if self._opened is not None and version == self._opened.version:
                return True
            try:
                try:
                    opened = self._opener()
                except (QpertError, OSError):
                    time.sleep(SECOND_LOOK)
                    opened = self._opener()
            except (QpertError, OSError) as error:
                self._fail(error)
                return False
            self._take(opened)
            logger.info(f"{self.name}: opened anew, {opened.info.photos:,} photos, {opened.info.index}")
            return True

    def _take(self, opened: OpenedSet) -> None:
        # One assignment for requests: they see the old set or the new one.
        self._opened = opened
        self._info, self.problem = opened.info, None
        self._noted(self.name, opened)

    def _fail(self, error: Exception) -> None:
        problem = first_line(error)
        if self._opened is not None or problem != self.problem:
            logger.warning(f"{self.name}: cannot be searched until this is mended: {problem}")
            self._noted(self.name, None)
        self._opened, self.problem = None, problem
