"""finalize."""
