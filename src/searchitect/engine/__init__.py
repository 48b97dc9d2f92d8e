"""The search itself: a ledger of trials, and the loop that asks, submits, waits and records. No torch."""
