"""Haraka's configuration files: read, checked as a whole, and turned into frozen settings; and written again."""
