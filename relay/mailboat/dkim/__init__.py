"""DKIM signatures (RFC 6376, 8301, 8463): keys, covered fields, the signature field, and verification."""
