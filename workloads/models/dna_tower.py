"""The DNA tower of a spec: BarcodeBERT, DNABERT-2, a small CNN, or an MLP over features."""

from torch import nn

from workloads.models.barcode_cnn import build_barcode_cnn
from workloads.models.barcodebert import build_barcodebert
from workloads.models.dnabert2 import build_dnabert2
from workloads.models.feature_tower import build_feature_tower
from workloads.spec import DnaTower

_OVER_BARCODES = {"barcodebert": build_barcodebert, "dnabert2": build_dnabert2, "cnn": build_barcode_cnn}


def build_dna_tower(
    spec: DnaTower, feature_size: int | None, embedding_size: int, pretrained: bool = True
) -> nn.Module:
    """The DNA tower of a spec.

    Args:
        spec: the tower.
        feature_size: length of the data set's DNA features, None where it has barcodes.
        embedding_size: size of the shared space.
        pretrained: whether the spec's weights are put in; without them the shapes are the same.

    Raises:
        WeightsError: the weights cannot be had or do not fit, or the data set has no features.
    """
    if spec.kind != "features":
        return _OVER_BARCODES[spec.kind](spec, embedding_size, pretrained)
    return build_feature_tower(spec, feature_size, embedding_size, pretrained)
