"""SPF (RFC 7208): the record of a domain, and whether it lets an address send. No I/O: look-ups are an argument."""
