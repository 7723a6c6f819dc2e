"""`python -m i2am.demo.evaluate`."""

from .figures import main

raise SystemExit(main())
