"""`python -m i2am`."""

from .commands.cli import main

raise SystemExit(main())
