"""Small open-set problems, and their answers one query and one key at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workloads.evaluation.embedded import Embedded, unit
from workloads.spec import RANKS

Names = npt.NDArray[np.object_]
Answer = tuple[dict[str, str | None], bool]
"""Names by rank, and whether it is of a seen species."""

SIZE = 4


def column(names: Sequence[str | None]) -> Names:
    return np.array([*names, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


def lineage(species: Sequence[str | None] | Names) -> dict[str, Names]:
    """Two species a genus, two genera a family, one order; `None` has a genus that nobody else has."""
    numbers = [None if name is None else int(name[1:]) for name in species]
    return {
        "order": column(["o"] * len(species)),
        "family": column([None if n is None else f"f{n // 4}" for n in numbers]),
        "genus": column(["alone" if n is None else f"g{n // 2}" for n in numbers]),
        "species": column(species),
    }


def embedded(name: str, species: Sequence[str | None], subset: Sequence[str], seed: int, dna: bool = True) -> Embedded:
    """Coarse embeddings, so that ties are frequent."""
    random = np.random.default_rng(seed)
    rows = {modality: random.integers(-1, 2, (len(species), SIZE)).astype(np.float32) for modality in ("image", "dna")}
    if not dna:
        del rows["dna"]
    ids = column([f"{name} {number}" for number in range(len(species))])
    return Embedded(ids, column(subset), lineage(species), rows)


def specimens(name: str, seed: int, num_seen: int = 14, num_unseen: int = 13) -> Embedded:
    """Specimens of the seen species s0 to s4 and of the unseen ones s5 to s9, mixed."""
    random = np.random.default_rng(seed + 100)
    subset = random.permutation(["seen"] * num_seen + ["unseen"] * num_unseen).tolist()
    species = [f"s{random.integers(0, 5) + (0 if kind == 'seen' else 5)}" for kind in subset]
    return embedded(name, species, subset, seed)


@dataclass(frozen=True)
class Case:
    queries: Mapping[str, Embedded]
    keys: Embedded
    classifier: pa.Table


def classified(queries: Mapping[str, Embedded], seed: int = 0, num_predicted: int = 4) -> pa.Table:
    """Predictions over s0 to s4, in another order than the queries."""
    random = np.random.default_rng(seed)
    rows = [(part, number) for part, asking in queries.items() for number in range(len(asking))]
    table = []
    for place in random.permutation(len(rows)):
        part, number = rows[place]
        probability = sorted((random.integers(0, 5, num_predicted) / 4).tolist(), reverse=True)
        predicted = [f"s{n}" for n in random.permutation(5)[:num_predicted]]
        asking = queries[part]
        table.append(
            {
                "specimen_id": asking.ids[number],
                "partition": part,
                "subset": asking.subset[number],
                "predicted": predicted,
                "probability": probability,
            }
        )
    return pa.Table.from_pylist(table)


def nearest(case: Case, query: npt.NDArray[np.float32], modality: str, kind: str) -> list[tuple[float, int]]:
    """Cosine and number of the keys of a kind, the nearest first, ties to the lowest number."""
    keys, found = unit(case.keys.rows[modality]), []
    for number in range(len(keys)):
        if case.keys.subset[number] == kind:
            cosine = sum(float(a) * float(b) for a, b in zip(query, keys[number], strict=True))
            found.append((-float(np.float32(cosine)), number))
    return [(-cosine, number) for cosine, number in sorted(found)]


def key_answer(case: Case, number: int) -> Answer:
    return {rank: case.keys.labels[rank][number] for rank in RANKS}, case.keys.subset[number] == "seen"


def class_answer(case: Case, species: str) -> Answer:
    """Every species has one lineage here, which the keys know where the species has a key."""
    names = {rank: lineage([species])[rank][0] for rank in RANKS}
    if species not in case.keys.labels["species"]:
        names = {**dict.fromkeys(RANKS, None), "species": species}
    return names, True


def answers_by_hand(case: Case, part: str, row: int, method: str, threshold: float) -> list[Answer]:
    """The five answers to one query."""
    asking = case.queries[part]
    query = unit(asking.rows["image"])[row]
    is_seen = asking.subset[row] == "seen"
    unseen = [key_answer(case, number) for _, number in nearest(case, query, "dna", "unseen")]
    kind = "nn_dna" if method.startswith("nn_dna") else method.split("_")[0]
    if kind == "nn_dna":
        both = sorted([(-c, n) for k in ("seen", "unseen") for c, n in nearest(case, query, "dna", k)])
        if method == "nn_dna_calibrated":
            return calibrated(
                case, nearest(case, query, "dna", "seen"), nearest(case, query, "dna", "unseen"), threshold
            )
        if method == "nn_dna":
            return [key_answer(case, number) for _, number in both[:5]]
        return [a for a in (key_answer(case, number) for _, number in both) if a[1] == is_seen][:5]
    if kind == "nn":
        near = nearest(case, query, "image", "seen")
        seen = [(score, key_answer(case, number)) for score, number in near]
    else:
        [found] = [r for r in case.classifier.to_pylist() if r["specimen_id"] == asking.ids[row]]
        seen = [
            (score, class_answer(case, name))
            for score, name in zip(found["probability"], found["predicted"], strict=True)
        ]
    answers = []
    for place in range(5):
        called_seen = place < len(seen) and (is_seen if method.endswith("oracle") else seen[place][0] > threshold)
        if method.endswith("oracle") and is_seen:
            answers += [seen[place][1]] if place < len(seen) else []
        elif called_seen:
            answers.append(seen[place][1])
        elif place < len(unseen):
            answers.append(unseen[place])
    return answers


def calibrated(
    case: Case, seen: list[tuple[float, int]], unseen: list[tuple[float, int]], constant: float
) -> list[Answer]:
    """The first five of both, a seen key first where it is nearer by more than the constant."""
    answers: list[Answer] = []
    while (seen or unseen) and len(answers) < 5:
        first = seen and (not unseen or seen[0][0] - unseen[0][0] > constant)
        answers.append(key_answer(case, (seen if first else unseen).pop(0)[1]))
    return answers


def measured_by_hand(case: Case, part: str, method: str, threshold: float) -> dict[tuple[str, str, str, str], float]:
    """Accuracies by average, rank, kind of query and metric, and the accuracy of telling the kinds apart."""
    asking = case.queries[part]
    answers = [answers_by_hand(case, part, row, method, threshold) for row in range(len(asking))]
    found: dict[tuple[str, str, str, str], float] = {}
    for subset in ("seen", "unseen"):
        rows = [row for row in range(len(asking)) if asking.subset[row] == subset]
        if not method.endswith("oracle"):
            right = [answers[row][0][1] == (subset == "seen") for row in rows]
            found["micro", "species", subset, "seen_unseen_accuracy"] = sum(right) / len(right)
        for rank in RANKS:
            counted = [row for row in rows if asking.labels[rank][row] is not None]
            for k in (1, 3, 5):
                by_name: dict[str, list[bool]] = {}
                for row in counted:
                    truth = asking.labels[rank][row]
                    by_name.setdefault(truth, []).append(any(names[rank] == truth for names, _ in answers[row][:k]))
                shares = [sum(hits) / len(hits) for hits in by_name.values()]
                every = [hit for hits in by_name.values() for hit in hits]
                found["micro", rank, subset, f"top{k}"] = sum(every) / len(every)
                found["macro", rank, subset, f"top{k}"] = sum(shares) / len(shares)
    return found
