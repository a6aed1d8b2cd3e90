"""Start here: settings → workspace → page. `python app.py`, or `make run`."""

import sys

from studio.cli.main import run

if __name__ == "__main__":
    sys.exit(run(["serve", *sys.argv[1:]]))
