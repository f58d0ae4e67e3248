"""Two evaluations of the same queries: paired answers, tests, and the sheet of their differences."""
