"""`python -m i2am.demo.train`."""

from .whole import main

raise SystemExit(main())
