"""Names for specimens that nobody has named: databases of keys, exact search, and confidence that holds."""
