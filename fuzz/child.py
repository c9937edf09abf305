"""Fuzzes one target until libFuzzer stops it: ``python -m fuzz.child TARGET KNOWN.json SCRATCH [libFuzzer options] FOLDER...``.

What raises anything but an error of this package ends the process, unless KNOWN.json names the place where it was raised.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from pathlib import Path
from random import Random

import atheris

# Protobuf's parser of text is Python too, but following it makes the targets that read little text slow.
_TEXTS = ("prototxt", "definition", "record")
_FOLLOWED = ["nuqconv", *(["google.protobuf.text_format"] if sys.argv[1] in _TEXTS else [])]

with atheris.instrument_imports(include=_FOLLOWED):
    from fuzz.mutators import MUTATORS
    from fuzz.targets import TARGETS
    from nuqconv.errors import NuqconvError


def place_of(error: BaseException) -> str:
    """Returns the kind of an error and where in this project it came from, the same for the same fault."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    where = frames[-1] if frames else None
    return f"{type(error).__name__} {Path(where.filename).name}:{where.name}" if where else type(error).__name__


def main() -> None:
    """Reads the arguments and fuzzes; does not return."""
    target, mutate = TARGETS[sys.argv[1]], MUTATORS[sys.argv[1]]
    known = frozenset(json.loads(Path(sys.argv[2]).read_text()))
    logging.disable()
    # A warning is a fault too.
    warnings.simplefilter("error")
    path = Path(sys.argv[3]) / f"input{target.suffix}"

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            target.read(path)
        except NuqconvError:
            return
        except Exception as error:
            if place_of(error) not in known:
                sys.stderr.write(f"FAULT {json.dumps(place_of(error))}\n")
                raise

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        def raw(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part, max(len(part) + 64, 64)))

        try:
            return mutate(data, Random(seed), raw)[:max_size]
        # What the mutator itself cannot take is mutated as bytes.
        except Exception:  # noqa: BLE001
            return raw(data)[:max_size]

    atheris.Setup([sys.argv[0], *sys.argv[4:]], once, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
