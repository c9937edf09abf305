"""A picture of the data that a search evaluates on, for its report."""

from __future__ import annotations

import io
import logging

from nuqconv.data.base import DataSet
from nuqconv.data.extras import pillow
from nuqconv.data.look import contact_sheet
from nuqconv.errors import NuqconvError

__all__ = ["MOST_BYTES", "sheet_of"]

_LOG = logging.getLogger(__name__)

MOST_BYTES = 40_000
"""Largest picture; it is coded more coarsely until it is no larger."""

_SAMPLES = 20
_QUALITIES = (85, 70, 50, 30, 10)


def sheet_of(data: object) -> bytes | None:
    """Returns the first pictures of a data set side by side, as JPEG; None for other data, or where pictures cannot be written.

    Args:
        data: What an evaluator evaluates on; anything else than a `DataSet` has no pictures.
    """
    if not isinstance(data, DataSet):
        return None
    try:
        sheet, image = contact_sheet(data, _SAMPLES), pillow()
    except NuqconvError as error:
        _LOG.debug("no picture of the data: %s", error)
        return None
    made = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.fromarray(sheet).save(file, "JPEG", quality=quality, optimize=True)
        made = file.getvalue()
        if len(made) <= MOST_BYTES:
            return made
    return None
