"""Where models run: how a host's attention calls become q, k, v in one order."""
