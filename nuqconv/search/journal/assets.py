"""The contents that a journal keeps under their hashes, compressed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nuqconv.errors import JournalError
from nuqconv.search.journal.identity import shortened

__all__ = ["MAX_ASSET_BYTES", "packed", "unpacked"]

MAX_ASSET_BYTES = 1 << 28
"""Largest asset; a compressed one that says it is larger is not opened."""

_LEVEL = 1


def packed(assets: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, int, bytes]]:
    """Yields contents, given with their names, as rows: hash, size and the compressed content.

    Raises:
        JournalError: A name is not the hash of its content, or a content is too large.
    """
    for digest, data in assets:
        yield digest, len(data), zlib.compress(_named(digest, data), _LEVEL)


def unpacked(digest: str, row: Sequence[Any]) -> bytes:
    """Returns the content of a row (size, compressed content), which may hold anything.

    Raises:
        ValueError: It is not what was stored; the message says why.
    """
    size, data = row
    if type(size) is not int or not 0 <= size <= MAX_ASSET_BYTES or type(data) is not bytes:
        raise ValueError(f"the size of asset {shortened(digest)} is {size!r:.40}")
    try:
        # One byte more than there should be tells whether there is more, without making all of it.
        found = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"asset {shortened(digest)} cannot be decompressed: {error}") from error
    if len(found) != size or hashlib.sha256(found).hexdigest() != digest:
        raise ValueError(f"asset {shortened(digest)} is not what was stored")
    return found


def _named(digest: str, data: bytes) -> bytes:
    if len(data) > MAX_ASSET_BYTES:
        raise JournalError(f"{len(data):,} bytes for one layer are more than a journal takes ({MAX_ASSET_BYTES:,})")
    if hashlib.sha256(data).hexdigest() != digest:
        raise JournalError(f"asset {shortened(digest)}: the name is not the SHA-256 of the content")
    return data
