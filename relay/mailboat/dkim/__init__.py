"""DKIM signatures (RFC 6376, 8301, 8463): keys, what is signed, how it is written, and how it is checked."""
