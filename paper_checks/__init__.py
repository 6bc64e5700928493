"""Hold the theory against itself: one file per checked statement."""
