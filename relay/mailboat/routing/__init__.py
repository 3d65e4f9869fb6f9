"""Where a message goes: DNS answers, MX order, smart hosts, and how much TLS each target must have."""
