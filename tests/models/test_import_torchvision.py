"""timm can be imported, whichever build of torchvision lies beside torch."""

import subprocess
import sys

import torch

from workloads.models.torchvision_ops import declare_missing_operators


def test_timm_imports_once_the_missing_operators_are_declared() -> None:
    declare_missing_operators()
    import timm

    assert timm.is_model("vit_base_patch16_224")


def test_the_operators_are_declared_once_and_have_a_schema() -> None:
    assert declare_missing_operators() is declare_missing_operators()
    names = [argument.name for argument in torch.ops.torchvision.nms.default._schema.arguments]
    assert names == ["dets", "scores", "iou_threshold"]


def test_timm_does_not_bring_the_library_of_weights_and_biases() -> None:
    code = "import sys; from workloads.models.towers import timm_published; timm_published('vit_tiny_patch16_224'); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('timm' in sys.modules, 'wandb' in sys.modules); import wandb"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True False\n"
