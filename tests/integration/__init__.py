"""Several parts together, and real programs and sockets on loopback: seconds, not milliseconds."""
