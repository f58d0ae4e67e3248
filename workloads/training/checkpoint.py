"""Checkpoints of training: tensors as safetensors, progress as JSON, hashes in a manifest; no pickles.

    checkpoints/
        step-00000123/        everything that the next step depends on
            progress.json
            state.safetensors
            manifest.json     size and SHA-256 of both, written last
        best-00000012/        the weights of the best epoch so far, laid out alike

        at_a_time.json        how many specimens fit, where memory ran out without a checkpoint that says so

What has no manifest was never finished, or its removal was interrupted; what does not agree with it is damaged. Random
states are not part of it: every step seeds its own from (seed, step, chunk).
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workloads.disk_errors import naming
from workloads.errors import DamagedError
from workloads.models.weights import HostCopy, misfit
from workloads.plain_values import parsed
from workloads.storage import Folder, read_file

STATE, PROGRESS, MANIFEST = "state.safetensors", "progress.json", "manifest.json"
_SIZE = "at_a_time.json"

Warn = Callable[[str], None]
_Kind = Literal["step", "best"]
_Files = Mapping[str, bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was given to `CheckpointStore.save`."""

    address: str
    """Where it lies."""
    tensors: dict[str, Tensor]
    """On the host."""
    progress: dict[str, Any]


class _Place(NamedTuple):
    """A checkpoint's folder; places sort by age."""

    number: int
    """Steps done, or the epoch of best weights."""
    attempt: int
    """Above 1 where one of this number was there already: what is sealed is never written over."""
    name: str


_NAME = re.compile(r"(?P<kind>step|best)-(?P<number>\d{8,})(?:-(?P<attempt>\d+))?")


KEPT = 2
"""How many checkpoints stay of a run that is trained."""


class CheckpointStore:
    """The checkpoints of one run, on a disk or in an object store. One process writes, any may read."""

    def __init__(self, folder: Folder, keep: int = KEPT) -> None:
        """Take a folder, which need not exist.

        Args:
            folder: `checkpoints/` of a run.
            keep: how many checkpoints stay, the newest included; and of best weights as many.
        """
        if keep < 1:
            raise ValueError(f"at least one checkpoint has to stay, not {keep}")
        self.folder, self._keep = folder, keep
        self._memory: Mapping[_Kind, HostCopy] = {"step": HostCopy(), "best": HostCopy()}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: dict[_Kind, Future[None]] = {}
        """What was begun and not waited for since, in the order in which it is written."""
        self._damaged: set[str] = set()

    def save(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Copy tensors to the host now and write them in the background. Waits for an earlier save to end.

        Best weights that are being written are not waited for: they have memory of their own, and are written first.

        Args:
            tensors: on any device; they may change as soon as this returns.
            progress: what JSON can hold; its `step`, the number of steps done, names the checkpoint.

        Raises:
            OSError: the earlier save failed; it names the file. This one is not begun.
        """
        if "step" in self._writing or all(each.done() for each in self._writing.values()):
            self.wait()
        self._begin("step", int(progress["step"]), tensors, progress)

    def save_best(self, tensors: Mapping[str, Tensor], score: float, epoch: int) -> None:
        """The same for the weights of the best epoch so far. Waits for everything earlier."""
        self.wait()
        self._begin("best", epoch, tensors, {"score": score, "epoch": epoch})

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            OSError: the last save failed; it names the file. What was saved before is still there.
        """
        writing, self._writing = self._writing, {}
        wait(writing.values())  # all of them, before the first one's failure is told
        for each in writing.values():
            each.result()

    def newest(self, warn: Warn) -> Checkpoint | None:
        """The newest whole checkpoint, or None.

        Args:
            warn: told of each damaged checkpoint that is skipped, and why.

        Raises:
            OSError: the store cannot be read now, which says nothing about what it holds.
        """
        return next(self._good("step", warn), None)

    def best(
        self, warn: Warn = warnings.warn, wanted: tuple[float, int] | None = None
    ) -> tuple[dict[str, Tensor], float, int] | None:
        """Weights, score and epoch of the best epoch, or None; damaged ones are skipped as by `newest`.

        Args:
            warn: as for `newest`.
            wanted: only those of this score and epoch; later ones may be of a course that was left.
        """
        for checkpoint in self._good("best", warn):
            score, epoch = float(checkpoint.progress["score"]), int(checkpoint.progress["epoch"])
            if wanted in (None, (score, epoch)):
                return checkpoint.tensors, score, epoch
        return None

    def note_size(self, specimens: int) -> None:
        """Note that so many specimens may be embedded at a time at most; by any worker, whose memory has run out."""
        self.folder.write_json(_SIZE, {"specimens": specimens})

    def noted_size(self) -> int | None:
        """What was noted, if anything was."""
        return int(self.folder.read_json(_SIZE)["specimens"]) if self.folder.has(_SIZE) else None

    def _begin(self, kind: _Kind, number: int, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        files: _Files = {PROGRESS: _as_json(progress), STATE: self._memory[kind].take(tensors)}
        self._writing[kind] = self._writer.submit(self._write, kind, number, files, tuple(self._writing.values()))

    def _write(self, kind: _Kind, number: int, files: _Files, before: tuple[Future[None], ...]) -> None:
        """Write a checkpoint, and only when it is whole remove those that it makes superfluous."""
        for each in before:  # what could not be written is not spoken of either
            each.result()
        whole = self._whole(kind)
        for place in set(self._places(kind)) - set(whole):
            _remove(self.folder, place.name)  # its writing was interrupted
        attempt = 1 + max((place.attempt for place in whole if place.number == number), default=0)
        name = f"{kind}-{number:08d}" + (f"-{attempt}" if attempt > 1 else "")
        for file, content in {**files, MANIFEST: _manifest(files)}.items():
            with naming(f"{self.folder}/{name}/{file}"):
                (self.folder / name).write(file, content)
        # Later ones than this are of a course that was left for an older checkpoint, as they are damaged.
        earlier = [place for place in whole if place.number < number and place.name not in self._damaged]
        for place in set(whole) - set(earlier[max(0, len(earlier) - self._keep + 1) :]):
            _remove(self.folder, place.name)

    def _places(self, kind: _Kind) -> list[_Place]:
        """Those of a kind, the oldest first."""
        matches = [match for name in self.folder.folders() if (match := _NAME.fullmatch(name))]
        places = (_Place(int(m["number"]), int(m["attempt"] or 1), m[0]) for m in matches if m["kind"] == kind)
        return sorted(places)

    def _whole(self, kind: _Kind) -> list[_Place]:
        """Those that were written to their end."""
        return [place for place in self._places(kind) if (self.folder / place.name).has(MANIFEST)]

    def _good(self, kind: _Kind, warn: Warn) -> Iterator[Checkpoint]:
        """Those that are not damaged, the newest first."""
        self.wait()
        for place in reversed(self._whole(kind)):
            try:
                yield _read(self.folder / place.name)
            except DamagedError as error:
                path, reason = error.args
                self._damaged.add(place.name)
                warn(f"{path}: {reason}. This checkpoint is damaged and is skipped.")


def _read(folder: Folder) -> Checkpoint:
    """What was written, to the bit.

    Raises:
        DamagedError: it is not that.
        OSError: the store cannot be read now, which says nothing about what it holds.
    """
    stored = read_file(folder, MANIFEST)
    files = {name: read_file(folder, name) for name in (PROGRESS, STATE)}
    try:
        stated = parsed(stored)
        for name, content in files.items():
            size, sha256 = stated[name]["size"], stated[name]["sha256"]
            if len(content) != size:
                raise DamagedError(f"{folder}/{name}", f"{len(content)} bytes, where {size} were written")
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DamagedError(f"{folder}/{name}", f"its SHA-256 is not that of {MANIFEST}")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder}/{MANIFEST}", f"not a manifest ({error!r})") from error
    if stored != _manifest(files):
        raise DamagedError(f"{folder}/{MANIFEST}", "not what was written")
    try:
        return Checkpoint(str(folder), load(files[STATE]), parsed(files[PROGRESS]))
    except (SafetensorError, ValueError) as error:
        raise DamagedError(str(folder), f"of another version ({error})") from error


def _remove(parent: Folder, name: str) -> None:
    """The manifest first: what is left of an interrupted removal is then not taken for damaged."""
    with naming(f"{parent}/{name}"):
        (parent / name).remove(MANIFEST)
        parent.remove_folder(name)


def _manifest(files: _Files) -> bytes:
    """One content, one manifest."""
    return _as_json({name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()})


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


# --- What a checkpoint holds of a model and its optimiser ----------------------------------------------------------


def training_tensors(
    model: nn.Module, optimizer: Optimizer, schedule: LRScheduler
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What the next step depends on, as tensors and as values that JSON can hold.

    Args:
        model: not wrapped for distribution.
        optimizer: Adam or AdamW over some of the model's parameters; its state goes by their names.
        schedule: of its learning rates.
    """
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    states = {name: optimizer.state.get(parameter, {}) for name, parameter in _trained(model, optimizer).items()}
    for name, state in states.items():
        tensors |= {f"optimizer/{key}/{name}": value for key, value in state.items()}
    return tensors, {
        "learning_rates": [group["lr"] for group in optimizer.param_groups],
        "optimizer_keys": sorted({key for state in states.values() for key in state}),
        "without_state": sorted(name for name, state in states.items() if not state),  # no gradient has reached them
        "schedule": schedule.state_dict(),
    }


def restore_training(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Put back what `training_tensors` gave.

    Raises:
        DamagedError: a tensor is missing, of no use, or of another shape or type; nothing is changed then.
    """
    tensors, trained, weights = checkpoint.tensors, _trained(model, optimizer), model.state_dict()
    groups = optimizer.state_dict()["param_groups"]
    path, progress = f"{checkpoint.address}/{PROGRESS}", checkpoint.progress
    wanted = ("learning_rates", "optimizer_keys", "without_state", "schedule")
    if missing := [name for name in wanted if name not in progress]:
        raise DamagedError(path, f"it lacks {', '.join(missing)}")
    rates, keys = progress["learning_rates"], progress["optimizer_keys"]
    if len(rates) != len(groups):
        raise DamagedError(path, f"{len(rates)} learning rates where {len(groups)} are wanted")
    moved = trained.keys() - set(progress["without_state"])
    expected = {f"model/{name}": tensor for name, tensor in weights.items()}
    for name in moved:
        expected |= {f"optimizer/{key}/{name}": torch.zeros(()) if key == "step" else trained[name] for key in keys}
    if wrong := misfit(tensors, expected, types=True):
        raise DamagedError(f"{checkpoint.address}/{STATE}", wrong[1])
    model.load_state_dict({name: tensors[f"model/{name}"] for name in weights})
    states = {
        index: {key: tensors[f"optimizer/{key}/{name}"].clone() for key in keys}
        for index, name in enumerate(trained)
        if name in moved
    }
    groups = [{**group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    schedule.load_state_dict(dict(progress["schedule"]))


def _trained(model: nn.Module, optimizer: Optimizer) -> dict[str, nn.Parameter]:
    """The optimiser's parameters by name, in its own order."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: parameter for group in optimizer.param_groups for parameter in group["params"]}
