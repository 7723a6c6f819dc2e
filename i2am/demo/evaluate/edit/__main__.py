"""`python -m i2am.demo.evaluate.edit`."""

from .whole import main

raise SystemExit(main())
