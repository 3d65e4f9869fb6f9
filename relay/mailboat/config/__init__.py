"""Haraka's configuration files: parsed from octets, checked as a whole, converted to frozen settings, and written.

Shared by relay and operator; with `dkim`, all that the operator imports of the relay (`.importlinter`). Pure: `loading`
reads the directory. All rules that both must apply in the same way belong here, with their input as an argument:
settings, the parsers of their values, the rules between them, checks of keys and DNS answers, samples for rules.
"""
