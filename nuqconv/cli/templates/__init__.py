"""Files that commands write for the user to start from."""
