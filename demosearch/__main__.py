"""`python -m demosearch` is `demosearch`."""

import sys

from demosearch.cli import main

sys.exit(main())
