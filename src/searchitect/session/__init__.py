"""One session of a study: what it prepares, how its time is shared out, the search, and what it leaves behind."""
