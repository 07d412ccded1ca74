"""The `holdfast` command, and `python -m holdfast`."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def run() -> None:
    """Runs the command line; Ctrl-C while its parts are still being loaded ends it as later."""
    try:
        from holdfast.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    run()
