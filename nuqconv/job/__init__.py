"""What `nuqconv.auto_nuq` does, step by step: read, calibrate, prepare, search, write."""
