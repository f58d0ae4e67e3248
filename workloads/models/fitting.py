"""Whether tensors from a file are those of a model: none missing, none over, each of its shape."""

from collections.abc import Collection, Mapping

from torch import Tensor


def misfit(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    ignored: Collection[str] = (),
    called: Mapping[str, str] | None = None,
    types: bool = False,
) -> tuple[str, str] | None:
    """The first tensor that is not as expected, and what is wrong, as the end of a sentence; None where all fit.

    Args:
        found: by name.
        expected: of the model; their numbers do not matter.
        ignored: exact names of what the model may lack.
        called: names in the file, where they are others.
        types: whether numbers must be of the same type too.
    """
    missing, over = expected.keys() - found.keys(), found.keys() - expected.keys() - set(ignored)
    if missing:
        return min(missing), f"it lacks {len(missing)} tensor(s), {min(missing)} first"
    in_file = (called or {}).get
    if over:
        first = min(over)
        return first, f"{len(over)} of its tensor(s) would not be used, {in_file(first, first)} first"
    for name, wanted in expected.items():
        tensors = (found[name], wanted)
        if tensors[0].shape != wanted.shape or (types and tensors[0].dtype != wanted.dtype):
            is_, needed = (f"{f'{one.dtype} ' if types else ''}{tuple(one.shape)}" for one in tensors)
            return name, f"{in_file(name, name)} is {is_} where {needed} is needed"
    return None
