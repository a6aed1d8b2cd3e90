"""`python -m studio …`: see `python -m studio --help`."""

import sys

from studio.cli.main import run

sys.exit(run(sys.argv[1:]))
