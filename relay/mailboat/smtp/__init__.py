"""The SMTP protocol without I/O: bytes in, events and reply bytes out. Knows nothing of sockets, queues or policy."""
