"""Converts a Haraka configuration directory to one of Mailboat, with a note for each line that has no counterpart.

`mailboat config import` calls `conversion.convert` and writes what it returns. Nothing of the relay itself knows this
package.
"""
