"""Haraka's configuration files: read from octets, checked as a whole, turned into frozen settings, and written again.

This is what relay and operator share, and all that the operator knows of the relay (`.importlinter`). Pure: `loading`
reads the directory. What both must judge alike belongs here, with its input as an argument: settings and the parsers of
their values, the rules between them, verdicts on keys and on DNS answers, samples that rules are tried on.
"""
