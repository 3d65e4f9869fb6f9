"""Reports on TLS failures (RFC 8460): what is counted, whom it is reported to, and the report. Pure."""
