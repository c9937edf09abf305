"""``python -m nuqconv.pycaffe script.py [args]``."""

from __future__ import annotations

import sys

from nuqconv.pycaffe.installation import run_as_program

_USAGE = (
    "usage: python -m nuqconv.pycaffe script.py [args]\n\nRuns a script in which `import caffe` means nuqconv.pycaffe."
)

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(_USAGE)
    sys.exit(run_as_program(sys.argv[1], sys.argv[2:]))
