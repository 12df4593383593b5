"""Targets: parse the URI, connect, read raw documents into an inventory."""
