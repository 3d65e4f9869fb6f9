"""The octets of a mail: its header, its trace, and the report when it fails. Pure; knows `model` alone."""
