"""What a source may read, and which of its files are photos: chosen once on the command line, passed whole."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.datasets.photos.housekeeping import is_housekeeping
from pipeline.datasets.photos.patterns import matches_any

SCHEMES = ("file", "gs", "hf", "s3")
"""Where photos may come from without being asked for, besides local paths."""
MAX_BYTES = 2**30
"""Largest photo that is read."""
HIDDEN = "hidden"
NOT_CHOSEN = "not chosen by --include and --exclude"


@dataclass(frozen=True)
class SourceRules:
    """What may be read, and what is a photo.

    Attributes:
        schemes: of the URIs that lists and tables may name.
        root: local folder that the paths of lists and tables must lie in, links resolved; None for anywhere.
        include: glob patterns over paths relative to the source, one of which a photo must match; () for all.
        exclude: likewise, none of which it may match.
        image_key: of several images of one webdataset key the ending that is the photo, such as ``jpg``; None for all.
        max_bytes: larger photos are refused.
        local_addresses: whether http and https may reach this machine and private networks.
        hosts: whose address may be a local one all the same: the user's own command names them.
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
        """Whether `include` lets a path through, which is relative to the source; of a tar's member ``TAR/MEMBER``."""
        return not self.include or matches_any(self.include, path)

    def excludes(self, path: str) -> bool:
        """Whether `exclude` keeps such a path out."""
        return matches_any(self.exclude, path)

    def left_out(self, path: str, *, hidden: bool = True) -> str | None:
        """Why such a path is no photo of the source, whatever it holds; None where it may be one.

        The reason reads well after a number, see `pipeline.datasets.photos.skipped.Skipped`.

        Args:
            path: relative to the source.
            hidden: leave hidden files out, too. In a list or table somebody has named them.
        """
        reasons = map(is_housekeeping, path.split("/"))
        if reason := next((reason for reason in reasons if reason and (hidden or reason != HIDDEN)), None):
            return reason
        return None if self.includes(path) and not self.excludes(path) else NOT_CHOSEN


DEFAULT_RULES = SourceRules()
"""Where nobody chose any: photos of features that somebody else may have made."""
