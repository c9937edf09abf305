"""``python -m nuqconv``."""

from nuqconv.cli import main

main()
