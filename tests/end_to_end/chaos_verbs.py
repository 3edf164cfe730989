"""The commands that `chaos.py` hurts: how each is called, how far it is, and what a whole outcome is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.datasets.scenes import write_scenes
from pipeline.experiments.outcomes import Outcomes
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from pipeline.retrieval.ranks import Ranks

ROOT = Path(__file__).parents[2]
BLOCK = 8  # photos per block and file: many commits, and every block the same batch however a run goes
PATIENCE = ["--patience", "2"]
Place = str | Path
"""A folder; of `index` also a bucket."""


class Verb(Protocol):
    """A command that can be run again and again into the same folder.

    Attributes:
        roles: what workers may be at when they are killed, by a part of their processes' titles.
        step: of what `done` counts, that is committed at once.
    """

    roles: Mapping[str, str]
    step: int

    def begin(self, out: Path) -> None:
        """Make room for a run into `out`."""

    def words(self, out: Path) -> list[str]:
        """The command, without the cluster's address."""

    def done(self, out: Path) -> int:
        """How much of it is committed."""

    def problems(self, out: Path, reference: Path) -> tuple[list[str], int]:
        """What is wrong with `out`, which should be as the reference; and how many numbers are one unit apart."""


class Index:
    """`qpert index` of scenes whose objects are known: photos, some of them in each file."""

    roles: Mapping[str, str] = MappingProxyType(
        {"detect": "DetectStage", "encode": "EncodeStage", "read": "read_photos", "write": "Write"}
    )
    step = BLOCK

    def __init__(self, work: Path, photos: int) -> None:
        self.scenes = work / "scenes"
        write_scenes(self.scenes, photos, seed=1)
        self.images = str(self.scenes / "images")
        self.expected = {path.name for path in (self.scenes / "images").iterdir()}

    def begin(self, out: Place) -> None:
        """Nothing to do."""

    def words(self, out: Place) -> list[str]:
        """With so many encoders each computes with one thread, on all the nodes as on what is left of them."""
        words: list[object] = ["index", self.images, "--out", out, "--detector", "annotated"]
        words += ["--detector.annotations", self.scenes, "--block-size", BLOCK, "--file-size", BLOCK, *PATIENCE]
        return [*map(str, words), "--detect-actors", "1", "--encode-actors", "3"]

    def done(self, out: Place) -> int:
        """Rows."""
        manifest = FeatureStore(str(out)).find_manifest()
        return 0 if manifest is None else BLOCK * len(FeatureStore(str(out)).files(manifest.fingerprint).names)

    def problems(self, out: Place, reference: Place) -> tuple[list[str], int]:
        """The rows, and what the manifest says."""
        return compare_features(out, reference, self.expected)


class Tune:
    """`qpert tune`: tokens, trials, and the confirming run. What is committed are files of features, and outcomes."""

    roles: Mapping[str, str] = MappingProxyType(
        {"encode": "EncodeStage", "sweep": "Sweeper", "desk": "Desk", "trial": "ImplicitFunc"}
        | {"rank": "rank_setting", "measure": "measure", "write": "Write"}
    )
    step = 1

    def __init__(self, work: Path, photos: int) -> None:
        self.photos = max(50, photos)

    def begin(self, out: Path) -> None:
        """Nothing to do: each run draws the same scenes."""

    def words(self, out: Path) -> list[str]:
        """Eight settings, two trials at once."""
        words = ["tune", "--encoder", "coca", "--scenes", str(self.photos), "--samples", "100", "--out", str(out)]
        words += ["--weight", "constant", "1-area", "--scale", "0.5", "1", "2", "4", "--concurrent", "2"]
        return words + PATIENCE

    def done(self, out: Path) -> int:
        """Files."""
        return _committed(out / "coca") + len(list(out.glob("coca/outcomes/*/*.npz")))

    def problems(self, out: Path, reference: Path) -> tuple[list[str], int]:
        """The feature sets, the outcome of every setting, and the table of trials."""
        found, units = _sets_and_outcomes(out / "coca", reference / "coca")
        one, other = (_trials(each) for each in (out, reference))
        if one != other:
            found.append(f"the trials are {dict(one)}, not {dict(other)}")
        return found, units


class Reproduce:
    """`qpert reproduce`: two feature sets under many settings, and the outcome of each of these."""

    roles: Mapping[str, str] = MappingProxyType(
        {"detect": "DetectStage", "encode": "EncodeStage", "measure": "measure", "write": "Write"}
    )
    step = 1

    def __init__(self, work: Path, photos: int) -> None:
        self.photos = max(50, photos)

    def begin(self, out: Path) -> None:
        """Nothing to do: each run draws the same scenes."""

    def words(self, out: Path) -> list[str]:
        """One encoder, one that does not write captions."""
        words = ["reproduce", "--encoder", "coca", "--scenes", str(self.photos), "--samples", "100", "--out", str(out)]
        return words + PATIENCE

    def done(self, out: Path) -> int:
        """Files."""
        folder = out / "miniature" / "coca"
        return _committed(folder) + len(list(folder.glob("outcomes/*/*.npz")))

    def problems(self, out: Path, reference: Path) -> tuple[list[str], int]:
        """The feature sets, the outcome of every setting, and which tables there are."""
        folders = [each / "miniature" / "coca" for each in (out, reference)]
        found, units = _sets_and_outcomes(*folders)
        tables = [sorted(path.name for path in (folder / "tables").iterdir()) for folder in folders]
        if tables[0] != tables[1]:
            found.append(f"the tables are {tables[0]}, not {tables[1]}")
        return found, units


class Rerank:
    """`qpert evaluate --rerank` of features made before: files of scores."""

    roles: Mapping[str, str] = MappingProxyType({"match": "MatchStage", "read": "read_beside", "write": "Write"})
    step = 1

    def __init__(self, work: Path, photos: int) -> None:
        self.scenes, self.features = work / "scenes", work / "features"
        write_scenes(self.scenes, photos, seed=1)
        words = ["index", self.scenes / "images", "--out", self.features, "--encoder", "blip2", "--cpus", "2"]
        words += ["--detector", "annotated", "--detector.annotations", self.scenes]
        words += ["--perturbation.stages", "itc", "itm"]
        subprocess.run([sys.executable, "-m", "jobs", *map(str, words)], cwd=ROOT, check=True, capture_output=True)

    def begin(self, out: Path) -> None:
        """A copy of the features."""
        shutil.copytree(self.features, out)

    def words(self, out: Path) -> list[str]:
        """The figures go beside the features."""
        words = ["evaluate", out, "--captions", self.scenes / "dataset_scenes.json", "--rerank", "--rerank-k", "32"]
        return [*map(str, words), "--samples", "100", "--json", str(out.with_suffix(".json")), *PATIENCE]

    def done(self, out: Path) -> int:
        """Files."""
        return _committed(out / "rerank")

    def problems(self, out: Path, reference: Path) -> tuple[list[str], int]:
        """The scores of every photo, once, and the figures."""
        one, other = (_scores(each) for each in (out, reference))
        found = []
        if one.keys() != other.keys() or any(count != 1 for count, _ in one.values()):
            lost, twice = other.keys() - one.keys(), [name for name, (count, _) in one.items() if count > 1]
            return [f"{len(lost)} photos without scores, {len(twice)} with two rows"], 0
        apart = max(float(np.abs(one[name][1] - other[name][1]).max(initial=0.0)) for name in one)
        if apart > 1e-4:
            found.append(f"scores differ by up to {apart:.1e}")
        figures = [json.loads(each.with_suffix(".json").read_text())["report"] for each in (out, reference)]
        if figures[0] != figures[1]:
            found.append("the figures differ")
        return found, sum(int((one[name][1] != other[name][1]).sum()) for name in one)


VERBS: dict[str, type[Index | Tune | Reproduce | Rerank]] = {
    "index": Index,
    "tune": Tune,
    "reproduce": Reproduce,
    "evaluate": Rerank,
}


def compare_features(out: Place, reference: Place, expected: set[str] | None = None) -> tuple[list[str], int]:
    """What is wrong with a feature set that should hold the expected photos, as the reference has them.

    Returns:
        In words; and how many numbers of the embeddings are one unit in the last place apart.
    """
    manifest, name = FeatureStore(str(out)).manifest(), str(out).rpartition("/")[2]
    variant = manifest.variants[0] if manifest.variants else None
    rows, right = (
        FeatureSet.open(str(each), variant).dataset.to_table().sort_by("image_id") for each in (out, reference)
    )
    expected = set(right["image_id"].to_pylist()) if expected is None else expected
    ids = Counter(rows["image_id"].to_pylist())
    wrong = {
        "rows missing": len(expected - ids.keys()),
        "rows too many": rows.num_rows - len(expected & ids.keys()),
        "rows failed": rows.num_rows - rows["error"].null_count,
    }
    problems = [f"{name}: {count} {what}" for what, count in wrong.items() if count]
    if manifest.state != "complete" or manifest.counts.get("photos") != len(expected):
        problems.append(f"the manifest of {name} says {manifest.state}, {manifest.counts}")
    if problems:
        return problems, 0
    names = ("image_id", "width", "height", "objects", "largest_area", "error", "dtype")
    problems += [f"{column} of {name} differs" for column in names if not rows[column].equals(right[column])]
    one, other = (np.array(each["embedding"].to_pylist(), np.float16).view(np.int16) for each in (rows, right))
    apart = np.abs(one.astype(np.int32) - other)  # neighbours among half floats of one sign are neighbours as integers
    units = int((apart == 1).sum())
    if int(apart.max()) > 1 or units > 1e-3 * apart.size:
        differ = int((apart > 0).sum())
        problems.append(f"{differ} numbers of the embeddings of {name} differ, by {int(apart.max())} units")
    return problems, units


def _committed(folder: Path) -> int:
    """Files that Ray's checkpoints below `folder` have committed."""
    found = folder.glob("*/checkpoint/*/*.parquet")
    return sum(not path.name.endswith(".pending.parquet") for path in found)


def _by_photo(ranks: Ranks) -> npt.NDArray[np.integer]:
    """All ranks, photos by their ids and texts by those of their photos: files of features come in any order."""
    ids = np.array(ranks.image_ids)
    texts = np.argsort(ids[ranks.image_of_text], kind="stable")
    return np.concatenate([ranks.text_ranks[texts], ranks.image_ranks[np.argsort(ids)]])


def _sets_and_outcomes(folder: Path, reference: Path) -> tuple[list[str], int]:
    """All feature sets below a folder, and the ranks of all settings: a rank may move by a tie in the last bits."""
    found, units = list[str](), 0
    sets = [sorted(path.parent.name for path in each.glob("*/manifest.json")) for each in (folder, reference)]
    # The name of a confirming set holds its scenes' place.
    for one, other in zip(*sets, strict=True):
        problems, apart = compare_features(folder / one, reference / other)
        found, units = found + problems, units + apart
    settings = [{path.stem: path.parent for path in each.glob("outcomes/*/*.npz")} for each in (folder, reference)]
    if settings[0].keys() != settings[1].keys() or len(list(folder.glob("outcomes/*/*.npz"))) != len(settings[0]):
        return [*found, f"outcomes of {sorted(settings[0])}, not of {sorted(settings[1])}"], units
    moved = total = 0
    for name in settings[0]:
        one, other = (Outcomes(each[name]).find(name) for each in settings)
        if one is None or other is None:
            found.append(f"the outcome of {name} is not whole")
            continue
        mine, theirs = _by_photo(one), _by_photo(other)
        moved += int((mine != theirs).sum()) if len(mine) == len(theirs) else len(mine)
        total += len(mine)
    if moved > 2e-3 * total:
        found.append(f"{moved} of {total} ranks differ")
    return found, units


def _trials(out: Path) -> Counter[tuple[str, float, float]]:
    rows = pq.read_table(out / "coca" / "trials.parquet").to_pylist()
    return Counter((row["weight"], row["scale"], row["threshold"]) for row in rows)


def _scores(out: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Photo -> how many rows it has, and its scores."""
    (folder,) = (out / "rerank").iterdir()
    found: dict[str, tuple[int, np.ndarray]] = {}
    files = FeatureStore(str(folder)).files(folder.name)
    for name in files.names:
        for row in pq.read_table(files.path(name), partitioning=None).to_pylist():
            before = found.get(row["image_id"], (0, None))[0]
            found[row["image_id"]] = before + 1, np.array(row["scores"] or [], np.float32)
    return found


def named(verb: str, work: Path, photos: int) -> Verb:
    """The verb of that name."""
    return VERBS[verb](work, photos)


def names() -> Sequence[str]:
    """Those that there are."""
    return tuple(VERBS)
