"""Statistics of boards: intervals, resampling and tests, on plain arrays."""
