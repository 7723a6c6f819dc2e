"""`python -m i2am`."""

from .cli import main

raise SystemExit(main())
