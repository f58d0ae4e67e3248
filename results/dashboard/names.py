"""What pages call partitions and features, which files have in short."""

PARTITIONS = {"val": "validation", "test": "test"}


def partition_name(partition: str) -> str:
    """A partition as it is read."""
    return PARTITIONS.get(partition, partition)


def feature_name(feature: str) -> str:
    """A feature as it is read: `image+dna` is `image+DNA`, and `image-dna`, of addresses, `image to DNA`."""
    return feature.replace("-", " to ").replace("dna", "DNA").replace("_", " ")
