"""The formats of model files: which there are, how each is read, and conversion between them."""
