"""What an import refuses as a whole; single bad rows are reported instead (`reading.BadRow`)."""

from __future__ import annotations


class BadFile(ValueError):
    """The file, or how it should be read, makes no sense. The message says what is wrong and what to do."""
