"""Requests of a run to an object store, and their price."""

from __future__ import annotations

from dataclasses import dataclass

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
"""Of a photo in a file of its own, which is listed, asked for its size and read."""
A_TAR = Requests(1 / _PER_LIST, 2)
A_FILE = Requests(12, 12)
"""Of a features file, its commitment included, as counted by `tests.simulation.store_counts`."""
A_RUN = Requests(100, 150)
"""Of the start and end of a run."""


def requests_of(options: SimulateConfig, photos: int, files: int, runs: int) -> Requests:
    """All requests of some runs, photos that were read again included."""
    sources = A_TAR * (photos / _TAR) if options.tars else A_PHOTO * photos
    return sources + A_FILE * files + A_RUN * runs


def price(options: SimulateConfig, requests: Requests, read_bytes: float) -> float:
    """The price of requests and of reading."""
    asked = (requests.puts * options.put_price + requests.gets * options.get_price) / 1000
    return asked + read_bytes / 1e9 * options.gb_price
