"""nuqconv."""
