"""Requests of a run to an object store, and their price."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.io.reading_ahead import PIECE
from pipeline.simulation.options import SimulateConfig

_PER_LIST = 1000
"""Names in an answer of a store that lists."""
_TAR = 1000
"""Photos in a tar."""


@dataclass(frozen=True)
class Requests:
    """Requests of one kind of thing.

    Attributes:
        puts: that write, copy or list, which stores charge alike.
        gets: that read or ask for a size.
    """

    puts: float = 0.0
    gets: float = 0.0

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.puts + other.puts, self.gets + other.gets)

    def __mul__(self, count: float) -> Requests:
        return Requests(self.puts * count, self.gets * count)


A_PHOTO = Requests(1 / _PER_LIST, 2)
"""Of a photo in a file of its own: its size is asked for, and it is read."""
A_FILE = Requests(18, 6)
"""Of a features file of 128 MB, written in pieces of 10 MB, its commitment and its entry in the ledger included."""
A_RUN = Requests(100, 150)
"""Of the start and end of a run, about."""


def requests_of(options: SimulateConfig, photos: int, files: int, runs: int) -> Requests:
    """All requests of some runs, as counted at a server of the S3 protocol.

    Args:
        options: the photos.
        photos: how many are read, repetitions included.
        files: features files that are written.
        runs: starts of the command.
    """
    a_tar = Requests(1 / _PER_LIST, 2 + _TAR * options.photo_size * 1000 / PIECE)
    sources = a_tar * (photos / _TAR) if options.tars else A_PHOTO * photos
    return sources + A_FILE * files + A_RUN * runs


def price(options: SimulateConfig, requests: Requests, read_bytes: float) -> float:
    """The price of requests and of reading."""
    asked = (requests.puts * options.put_price + requests.gets * options.get_price) / 1000
    return asked + read_bytes / 1e9 * options.gb_price
