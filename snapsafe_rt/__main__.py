"""python -m snapsafe_rt: the `snapsafe` command of this very interpreter."""

import sys

from snapsafe_rt.cli.main import main

sys.exit(main())
