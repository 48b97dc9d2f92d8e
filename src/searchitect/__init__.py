"""searchitect."""
