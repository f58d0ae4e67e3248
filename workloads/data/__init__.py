"""From sources of specimens to a prepared data set."""
