"""What may be read of a source, and which of its files are photos: chosen once on the command line."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.datasets.photos.ignored_names import HIDDEN, reason_to_ignore
from pipeline.datasets.photos.patterns import matches_any

SCHEMES = ("file", "gs", "hf", "s3")
"""Schemes that are allowed by default, besides local paths."""
MAX_BYTES = 2**30
"""Largest photo that is read by default, in bytes."""
NOT_CHOSEN = "not chosen by --include and --exclude"


@dataclass(frozen=True)
class SourceRules:
    """What may be read, and which files are photos.

    Attributes:
        schemes: schemes of the URIs that lists and tables may name.
        root: local folder that must contain the paths of lists and tables, with links resolved; None for anywhere.
        include: glob patterns over paths relative to the source; a photo must match one of them; () for all.
        exclude: likewise; a photo must match none of them.
        image_key: which of several images of a webdataset key is the photo, by its ending, such as ``jpg``; None for
            all.
        max_bytes: larger photos are refused.
        local_addresses: whether http and https may reach this machine and private networks.
        hosts: hosts that may have a local address in any case, since the user's own command names them.
    """

    schemes: tuple[str, ...] = SCHEMES
    root: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    image_key: str | None = None
    max_bytes: int = MAX_BYTES
    local_addresses: bool = False
    hosts: tuple[str, ...] = ()

    def includes(self, path: str) -> bool:
        """Whether `include` lets a path through: relative to the source, ``TAR/MEMBER`` for the member of a tar."""
        return not self.include or matches_any(self.include, path)

    def excludes(self, path: str) -> bool:
        """Whether `exclude` keeps out such a path."""
        return matches_any(self.exclude, path)

    def left_out(self, path: str, *, hidden: bool = True) -> str | None:
        """Why such a path is left out, whatever the file holds; None if it may be a photo.

        The reason reads well after a number, see `pipeline.datasets.photos.skipped.Skipped`.

        Args:
            path: path relative to the source.
            hidden: whether to leave out hidden files, too; those that a list or table names are read.
        """
        reasons = map(reason_to_ignore, path.split("/"))
        if reason := next((reason for reason in reasons if reason and (hidden or reason != HIDDEN)), None):
            return reason
        return None if self.includes(path) and not self.excludes(path) else NOT_CHOSEN


DEFAULT_RULES = SourceRules()
"""The rules without any option, as for the photos of features that somebody else may have made."""
