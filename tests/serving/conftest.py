"""Identification is imported with the stand-in for calibrations that its own tests have."""

import tests.identification.small_database  # noqa: F401
