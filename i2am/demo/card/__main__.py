"""`python -m i2am.demo.card`."""

from .card import main

raise SystemExit(main())
