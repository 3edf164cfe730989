"""Changing bytes as damage and malice do."""

from __future__ import annotations

import random

_WORDS = [
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 5000, b"null"),
    *(
        b'""',
        b"[]",
        b"{}",
        b"[" * 2000,
        b'{"a":' * 2000,
        b'"\\ud800"',
        b"\r\n",
        b"\t",
        b",",
        b'"',
        b"\\",
        b"true",
        b"0",
    ),
    *(
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\xff" * 8,
        b"\x80" * 8,
        b"../",
        b"/",
        b"://",
        b"::",
        b"#",
        b"%00",
        b"?",
    ),
    *(
        b"77777777777",
        b"1.0",
        b"1e5",
        b"<!DOCTYPE x>",
        b"&x;",
        b"<a>" * 300,
        b"PAR1",
        b"ustar\x0000",
        b"GNU.sparse.size",
    ),
]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """`data` with one to four changes: bits, words, cuts, pieces doubled, pieces moved."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(changed))
        end = min(len(changed), at + draw.choice((1, 2, 4, 8, 64, 512)))
        kind = draw.randrange(6)
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at:at] = draw.choice(_WORDS)
        elif kind == 2:
            changed[at:end] = draw.choice(_WORDS)
        elif kind == 3:
            del changed[at:end]
        elif kind == 4:
            changed[at:at] = changed[at:end]
        else:
            piece = changed[at:end]
            del changed[at:end]
            there = draw.randint(0, len(changed))
            changed[there:there] = piece
    return bytes(changed)
