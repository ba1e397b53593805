"""Run the command as ``python -m offnote``."""

import sys

from offnote.cli import main

if __name__ == "__main__":
    sys.exit(main())
