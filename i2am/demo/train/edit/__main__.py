"""`python -m i2am.demo.train.edit`."""

from .whole import main

raise SystemExit(main())
