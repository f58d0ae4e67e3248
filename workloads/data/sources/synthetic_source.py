"""The built-in synthetic insects as a source."""

from workloads.data.sources.source import Source
from workloads.data.synthetic import insects as synthetic


def synthetic_source(count: int, seed: int) -> Source:
    """Synthetic insects, drawn one after another."""
    return Source(name="synthetic insects", records=synthetic.specimens(count, seed), total=count, synthetic_seed=seed)
