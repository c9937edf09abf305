"""Files of strangers read within bounds, and ours written whole or not at all (``staging``)."""
