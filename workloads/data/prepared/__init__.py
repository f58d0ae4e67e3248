"""The data set on disk that runs read: how it is made and opened. Nothing here knows a tower."""
