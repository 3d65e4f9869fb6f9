"""Sending mail from plugins: `from mailboat import outbound`, then `await outbound.send_email(...)`.

The name that Haraka's plugins know; `mailboat.submission` does the work. What is exported here is stable.
"""

from mailboat.submission.sending import Options, send_email

__all__ = ["Options", "send_email"]
