"""A file that somebody else pickled is read without running what is in it, and refused with a sentence."""

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from workloads.conversion.foreign_checkpoint import keep_tensors, read_checkpoint, refuse_event
from workloads.errors import ConversionError, MissingPathError


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_that_would_run_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "best.pth"
    torch.save({"state_dict": {"logit_scale": torch.ones(()), "weight": Payload(canary)}}, file)
    with pytest.raises(ConversionError, match=r"posix\.system"):
        read_checkpoint(file)
    assert not canary.exists()
    torch.load(file, weights_only=False)
    assert canary.exists()  # the payload does what it is feared for


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot read it"),
        (b"no checkpoint", "cannot read it"),
        (b"PK\x03\x04 cut off", "cannot read it"),
        (pickle.dumps({"a": 1}, protocol=2), "cannot read it"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(content)
    reason = refusal(tmp_path / "best.pth")
    assert sentence in reason
    assert "weights_only" not in reason  # PyTorch's own advice is to switch the protection off


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "holds a list"),
        ({}, "no tensor in it"),
        ({"state_dict": {"epoch": 3}}, "'epoch' in it is a int"),
        ({3: torch.ones(1)}, "3 in it is a Tensor"),
        ({"a": torch.ones(2, 2).to_sparse()}, "no plain tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "no plain tensor"),
        ({"a": torch.ones(1).expand(10**12)}, "claim 4,000,000,000,000 bytes"),
    ],
)
def test_a_checkpoint_of_anything_but_tensors_by_name_is_refused(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "best.pth")
    assert sentence in refusal(tmp_path / "best.pth")


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "best.pth")
    whole = (tmp_path / "best.pth").read_bytes()
    (tmp_path / "best.pth").write_bytes(whole[: len(whole) // 2])
    assert "cannot read it" in refusal(tmp_path / "best.pth")


def refusal(file: Path) -> str:
    """Why a file is refused, asked in this process, which is the same question and much faster."""
    scratch = file.parent / "scratch"
    scratch.mkdir()
    keep_tensors(file, scratch)
    assert [path.name for path in scratch.iterdir()] == ["facts.json"]
    reason: str = json.loads((scratch / "facts.json").read_text())["refusal"]
    return reason


def test_the_reading_process_may_neither_connect_nor_start_programs() -> None:
    for event in ("socket.connect", "subprocess.Popen", "os.system", "os.fork", "os.exec"):
        with pytest.raises(PermissionError, match=event):
            refuse_event(event, ())
    refuse_event("open", ())


def test_a_checkpoint_that_breaks_its_reader_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best.pth").write_bytes(b"anything")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConversionError, match="status 1"):
        read_checkpoint(tmp_path / "best.pth")
    with pytest.raises(MissingPathError, match="published names"):
        read_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("old_format", [False, True])
def test_wrappers_and_prefixes_of_training_scripts_are_taken_off(
    wrapper: str | None, old_format: bool, tmp_path: Path
) -> None:
    tensor = torch.randn(3, 2, generator=torch.Generator().manual_seed(4))
    state = {"module.module.a": tensor, "module.module.tied": tensor, "module.module.view": tensor.T}
    content = {wrapper: state, "epoch": 3, "bert_config": {"vocab_size": 5, "list": [1]}} if wrapper else state
    torch.save(content, tmp_path / "best.pth", _use_new_zipfile_serialization=not old_format)
    keep_tensors(tmp_path / "best.pth", tmp_path)
    kept = load_file(tmp_path / "tensors.safetensors")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert set(kept) == {"a", "tied", "view"}
    assert torch.equal(kept["a"], tensor)
    assert torch.equal(kept["tied"], tensor)
    assert torch.equal(kept["view"], tensor.T)
    assert facts == ({"beside": ["epoch"], "config": {"vocab_size": 5}} if wrapper else {"beside": [], "config": {}})


def test_a_prefix_that_only_some_names_have_is_no_prefix(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "best.pth")
    keep_tensors(tmp_path / "best.pth", tmp_path)
    assert set(load_file(tmp_path / "tensors.safetensors")) == {"module.a", "b"}
