"""`python -m demosearch` is `demosearch`."""

import sys

from demosearch.cli.app import main

sys.exit(main())
