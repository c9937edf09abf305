"""``python -m nuqconv.cli``."""

from nuqconv.cli import main

main()
