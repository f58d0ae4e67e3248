"""The towers that embed images, barcodes and text, and what fine-tunes them."""

from workloads.models.torchvision_ops import declare_missing_operators

declare_missing_operators()  # before any module in here imports timm, transformers, peft or OpenCLIP
