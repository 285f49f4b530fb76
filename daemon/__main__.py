"""`python -m daemon` is the `cade` command."""

import sys

from daemon.commands import main

if __name__ == "__main__":
    sys.exit(main())
