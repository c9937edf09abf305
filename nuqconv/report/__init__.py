"""What a search found, as one page that can be sent to a colleague."""
