"""Builds a relay from its parts; starts, reloads and stops it, in one process or several."""
