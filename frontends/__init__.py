"""Readers: files of a framework -> Graph."""
