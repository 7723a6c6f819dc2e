"""From attention calls to sums: every call is reduced at once, within a budget of memory."""
