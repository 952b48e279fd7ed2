"""`python -m demosearch` runs the command line."""

import sys

from demosearch.cli.app import main

sys.exit(main())
