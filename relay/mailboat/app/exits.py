"""Exit statuses of the command, from sysexits.h; scripts and supervisors rely on them."""

from __future__ import annotations

OK = 0
UNAVAILABLE = 69
"""A port is taken, or no relay is running."""
SOFTWARE = 70
TEMPFAIL = 75
"""The queue directory is in use, or cannot be used now."""
CONFIG = 78
"""The configuration directory has faults."""
