"""`python -m i2am.demo.evaluate.trust`."""

from .study import main

raise SystemExit(main())
