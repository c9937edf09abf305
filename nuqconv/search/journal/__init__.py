"""The journal of a search: what was found out stays, however the search ends, and need not be found out again."""

from __future__ import annotations

from nuqconv.search.journal.assets import MAX_ASSET_BYTES
from nuqconv.search.journal.journal import Journal
from nuqconv.search.journal.record import JournalRecord
from nuqconv.search.journal.store import journal_files

__all__ = ["MAX_ASSET_BYTES", "Journal", "JournalRecord", "journal_files"]
