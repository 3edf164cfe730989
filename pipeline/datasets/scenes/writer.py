"""Writing scenes to disk in the formats of real data sets: Flickr30K Entities XML and Sentences, Karpathy's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree  # only to write XML; nothing is parsed here

from pipeline.datasets.scenes.captions import Caption, make_captions
from pipeline.datasets.scenes.crowds import check_crowded
from pipeline.datasets.scenes.drawing import draw_scene
from pipeline.datasets.scenes.layout import make_scene
from pipeline.datasets.scenes.scene import SCENE_SIZE, Profile, Scene
from pipeline.errors import QpertError

KARPATHY_FILE = "dataset_scenes.json"
_FOLDERS = ("images", "Annotations", "Sentences")


def distinct_scenes(count: int, seed: int, profile: Profile = "balanced") -> Iterator[Scene]:
    """Yield `count` scenes of the series `seed`, no two with the same content.

    Raises:
        QpertError: the series repeats itself (there are only so many different scenes).
    """
    seen: set[frozenset[tuple[str, str, str]]] = set()
    index = 0
    while len(seen) < count:
        scene = make_scene(seed, index, profile)
        index += 1
        if scene.content not in seen:
            seen.add(scene.content)
            yield scene
        elif index > 20 * count + 1000:
            raise QpertError(f"only {len(seen)} different scenes in series {seed}; ask for fewer than {count}")


def write_scenes(
    out: Path,
    count: int,
    seed: int,
    profile: Profile = "balanced",
    *,
    split: str = "test",
    report: Callable[[int], None] | None = None,
) -> Path:
    """Write `count` distinct scenes below `out` and return the path of Karpathy's JSON.

    `images/NNNNNN.jpg`, `Annotations/NNNNNN.xml` and `Sentences/NNNNNN.txt` as in Flickr30K Entities (1-based,
    inclusive pixel coordinates), and `dataset_scenes.json` as Karpathy's `dataset_flickr30k.json`. The JSON is written
    last, so a folder that has it is complete; if the same scenes are requested again, they are not drawn again.

    Args:
        out: the folder; new, empty, or begun by an interrupted call.
        count: number of scenes, no two with the same content.
        seed: number of the series.
        profile: see `layout`.
        split: Karpathy's split of all scenes.
        report: called after each scene with the number of scenes written.

    Raises:
        QpertError: `count` is not positive or the series has fewer scenes, `out` holds other files, or it cannot be
            written.
    """
    if count < 1:
        raise QpertError(f"the number of scenes must be at least 1, not {count}")
    if profile == "crowded":
        check_crowded(count)
    target = out / KARPATHY_FILE
    series: dict[str, str | int] = {
        "dataset": "scenes",
        "seed": seed,
        "profile": profile,
        "count": count,
        "split": split,
    }
    try:
        if target.exists():
            _check_same(target, series)
            return target
        foreign = sorted({entry.name for entry in out.iterdir()} - set(_FOLDERS)) if out.exists() else []
        if foreign:
            raise QpertError(f"{out} holds other files ({foreign[0]}); choose a new folder for the scenes")
        for name in _FOLDERS:
            (out / name).mkdir(parents=True, exist_ok=True)
            foreign = sorted(entry.name for entry in (out / name).iterdir() if not _is_scene(entry.name, count))
            if foreign:
                raise QpertError(f"{out / name} holds other files ({foreign[0]}); choose a new folder for the scenes")
        entries = []
        for number, scene in enumerate(distinct_scenes(count, seed, profile)):
            entries.append(_write_scene(out, number, scene, split))
            if report is not None:
                report(number + 1)
        partial = target.with_suffix(".tmp")
        partial.write_text(json.dumps({**series, "images": entries}))
        partial.replace(target)
    except OSError as error:
        raise QpertError(f"cannot write scenes to {out}: {error}") from error
    return target


def _is_scene(name: str, count: int) -> bool:
    stem = name.partition(".")[0]
    return stem.isdecimal() and int(stem) < count


def _check_same(target: Path, series: dict[str, str | int]) -> None:
    try:
        existing = json.loads(target.read_text())
        same = {key: existing.get(key) for key in series} == series
    except (ValueError, AttributeError):
        same = False
    if not same:
        raise QpertError(f"{target.parent} holds other scenes; choose a new folder or delete that one")


def _write_scene(out: Path, number: int, scene: Scene, split: str) -> dict[str, object]:
    stem = f"{number:06d}"
    captions = make_captions(scene)
    draw_scene(scene).save(out / "images" / f"{stem}.jpg", quality=92)
    first_id = 1 + 10 * number  # entity ids are unique over the data set, as in Flickr30K Entities
    (out / "Sentences" / f"{stem}.txt").write_text("".join(c.marked(first_id) + "\n" for c in captions))
    ElementTree.ElementTree(_annotation(stem, scene, first_id)).write(out / "Annotations" / f"{stem}.xml")
    return {
        "filename": f"{stem}.jpg",
        "imgid": number,
        "sentids": [5 * number + i for i in range(len(captions))],
        "sentences": [_sentence(5 * number + i, number, c) for i, c in enumerate(captions)],
        "split": split,
    }


def _sentence(sentence_id: int, image_id: int, caption: Caption) -> dict[str, object]:
    return {
        "sentid": sentence_id,
        "imgid": image_id,
        "raw": caption.text,
        "tokens": caption.text.replace(",", "").split(),
    }


def _annotation(stem: str, scene: Scene, first_id: int) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{stem}.jpg"
    size = ElementTree.SubElement(root, "size")
    for tag, value in (("width", SCENE_SIZE), ("height", SCENE_SIZE), ("depth", 3)):
        ElementTree.SubElement(size, tag).text = str(value)
    for k, thing in enumerate(scene.objects):
        node = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(node, "name").text = str(first_id + k)
        box = ElementTree.SubElement(node, "bndbox")
        x0, y0, x1, y1 = thing.box
        for tag, value in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            ElementTree.SubElement(box, tag).text = str(value)
    return root
