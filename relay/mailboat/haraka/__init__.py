"""A Haraka configuration directory made into one of Mailboat, with a word on each line that could not come along.

`mailboat config import` calls `conversion.convert` and writes what it returns. Nothing of the relay itself knows this
package.
"""
