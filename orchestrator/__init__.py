"""Where things run: the only package that imports Ray."""
