"""SendingDomains: the keys that sign for a domain, from their making to the end of their records."""
