"""Detection with ultralytics YOLO. The only module that imports ultralytics, which is under the AGPL-3.0.

ultralytics reads its switches from the environment when it is first imported. `import_ultralytics` sets them: it
installs nothing (`YOLO_AUTOINSTALL`), reads `.pt` files with `weights_only=True` against its own list of known classes
(`ULTRALYTICS_SAFE_LOAD`), so that a checkpoint cannot run code, sends no usage data (`YOLO_OFFLINE`; official models
are downloaded all the same) and prints nothing (`YOLO_VERBOSE`). The first two cannot be switched off. A checkpoint
with classes of its own can be exported to ONNX where it was made.
"""

from __future__ import annotations

import ast
import difflib
import os
import pickle
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.detectors.class_names import class_numbers
from pipeline.detectors.config import DOWNLOADS, MINIATURE, DetectorConfig
from pipeline.detectors.yolo_prompts import embedded, look_for
from pipeline.errors import QpertError
from pipeline.io.model_files import PICKLES

# torch and ultralytics are imported in functions: the name of a model is checked without them.
if TYPE_CHECKING:
    from pipeline.method.objects import Objects

_ENFORCED = {"YOLO_AUTOINSTALL": "false", "ULTRALYTICS_SAFE_LOAD": "true"}
_MANY = 1000
"""Photos from which importing torchvision, for `_lean_predictor`'s reasons, pays for a process."""
_DEFAULTS = {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}


class YoloDetector:
    """One ultralytics model on one device."""

    def __init__(
        self, config: DetectorConfig, device: str = "cpu", *, photos: int | None = None, prompts: bytes | None = None
    ) -> None:
        """Opens the model and detects once in an empty picture, so that any problem shows here.

        Args:
            config: `model` is `miniature`, a `.pt` or `.onnx` file, or the name of an official ultralytics model.
            device: `cpu`, `cuda:0`, ...
            photos: see `load_detector`.
            prompts: see `embed_prompts`; of an open vocabulary, they are embedded here without.

        Raises:
            QpertError: missing or unreadable file, unknown model or class name, size that a fixed ONNX input does not
                take, missing device or runtime.
        """
        import torch

        weights = find_weights(config.model)
        self._batch: int | None = None
        size: int | list[int] | None = config.image_size
        if weights.suffix == ".onnx":
            self._batch, size = _onnx_input(weights, config.image_size)
        threads, on_cpu = torch.get_num_threads(), torch.device(device).type == "cpu"
        try:
            self._model = import_ultralytics().YOLO(str(weights), task="detect")
            told = look_for(self._model, config, prompts)
            self._options: dict[str, Any] = {
                "conf": config.confidence,
                "max_det": config.max_objects,
                "device": str(device),
                "rect": False,  # square for every photo, or its boxes would depend on the other photos of the batch
                "verbose": False,
                "save": False,
                **({} if size is None else {"imgsz": size}),
                **({"predictor": _lean_predictor()} if on_cpu and photos is not None and photos < _MANY else {}),
            }
            self._detect_batch([Image.new("RGB", (64, 64), "grey")])
        except QpertError:
            raise
        except Exception as error:  # ultralytics, torch and onnxruntime each raise their own
            why = _brief(error)
            if isinstance(error.__cause__, pickle.UnpicklingError):
                why = (
                    "it was refused, as opening its pickle could run code, or it is not a model of ultralytics; export"
                    " it to ONNX"
                )
            raise QpertError(f"cannot use detector {config.model!r} on {device}: {why}") from error
        finally:
            torch.set_num_threads(threads)  # ultralytics sets its own number for the whole process
        self.names: dict[int, str] = dict(self._model.names)
        if config.classes is not None and not told:
            self._options["classes"] = class_numbers(config.classes, self.names)

    @classmethod
    def load(
        cls, config: DetectorConfig, device: str = "cpu", *, photos: int | None = None, prompts: bytes | None = None
    ) -> YoloDetector:
        """See `pipeline.detectors.registry.DetectorClass`."""
        return cls(config, device, photos=photos, prompts=prompts)

    @classmethod
    def check(cls, config: DetectorConfig, *, fetch: bool = True) -> None:
        """See `pipeline.detectors.registry.DetectorClass`."""
        find_weights(config.model, fetch=fetch)
        if config.classes is not None and fetch:
            cls(config, photos=0)  # only the weights know the names of their classes

    @classmethod
    def embed_prompts(cls, config: DetectorConfig) -> bytes | None:
        """See `pipeline.detectors.registry.embed_prompts`."""
        weights = find_weights(config.model)
        if weights == MINIATURE or weights.suffix == ".onnx":
            return None
        try:
            return embedded(import_ultralytics().YOLO(str(weights), task="detect"), config)
        except QpertError:
            raise
        except Exception as error:
            raise QpertError(f"cannot use detector {config.model!r}: {_brief(error)}") from error

    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """The objects of each RGB photo, at most `max_objects`, the most confident first."""
        photos = list(images)
        step = self._batch or max(1, len(photos))
        batches = (photos[start : start + step] for start in range(0, len(photos), step))
        return [objects for batch in batches for objects in self._detect_batch(batch)]

    def _detect_batch(self, images: list[Image.Image]) -> list[Objects]:
        padding = (self._batch or len(images)) - len(images)  # a fixed batch takes no fewer
        results = self._model.predict(images + images[-1:] * padding, **self._options)
        return [_objects(result, image.size) for result, image in zip(results, images, strict=False)]


def _objects(result: Any, size: tuple[int, int]) -> Objects:
    from pipeline.method.objects import Objects

    if result.boxes is None:
        raise QpertError("this model gives no boxes; use a detection model")
    rows = result.boxes.data.float().cpu()  # x0, y0, x1, y1 in pixels of the photo, confidence, class
    rows = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]
    rows = rows[rows[:, 4].argsort(descending=True, stable=True)]
    labels = [result.names[int(kind)] for kind in rows[:, 5]]
    return Objects.from_pixels(rows[:, :4], labels, rows[:, 4], size)


@cache
def import_ultralytics() -> ModuleType:
    """Imports ultralytics with the switches of this module's docstring; changes nothing else in the environment.

    Raises:
        QpertError: ultralytics is missing, too old, or was imported before with other switches.
    """
    os.environ.update(_ENFORCED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        import ultralytics
        from ultralytics import utils
        from ultralytics.nn import tasks
    except ImportError as error:
        raise QpertError(f"ultralytics cannot be imported: {_brief(error)}; pip install 'qpert[yolo]'") from error
    if threads is None:  # the import sets it to 1, which every process started from here would inherit
        os.environ.pop("OMP_NUM_THREADS", None)
    # Without the torch functions that it needs, ultralytics silently falls back to unpickling.
    supported = getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False)
    safe = supported and all(getattr(module, "SAFE_LOAD", False) for module in (utils, tasks))
    if not safe or getattr(utils, "AUTOINSTALL", True):
        raise QpertError(
            "this ultralytics would unpickle any checkpoint, or install packages: update it and torch, or if it was "
            "imported before pipeline.detectors.yolo, set ULTRALYTICS_SAFE_LOAD=true YOLO_AUTOINSTALL=false before that"
        )
    module: ModuleType = ultralytics
    return module


@cache
def _lean_predictor() -> type[Any]:
    """A predictor without ultralytics' warm-up, which on a CPU does nothing but import torchvision, for over a second.

    Overlapping boxes are then removed by ultralytics' own torch code instead of torchvision's. That takes about a
    millisecond longer for each photo, and gives the same boxes, unless confidences of two of them are equal to the last
    bit.
    """
    import_ultralytics()
    from ultralytics.models.yolo.detect import DetectionPredictor

    class LeanPredictor(DetectionPredictor):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.done_warmup = True

    return LeanPredictor


def find_weights(model: str, *, fetch: bool = True) -> Path:
    """The file of a model: the bundled miniature, an existing file, or an official model, downloaded if necessary.

    Args:
        model: see `DetectorConfig.model`.
        fetch: whether to download; otherwise the file of an official model may be missing.

    Raises:
        QpertError: unknown file or name, another file type, or a failed download.
    """
    if model == "miniature":
        if not MINIATURE.is_file():
            raise QpertError(f"the bundled detector is missing: {MINIATURE}; make it with `qpert train-miniature`")
        return MINIATURE
    if "://" in model:
        raise QpertError(f"detector {model!r} does not exist here: nothing is fetched from URLs; download it yourself")
    path = Path(model).expanduser()
    if path.suffix not in ("", ".pt", ".onnx"):
        kind = "can hold code and is not opened" if path.suffix.lower() in PICKLES else "is not opened"
        raise QpertError(
            f"detector {model!r} is neither a .pt nor an .onnx file: {path.suffix} {kind}; export it to ONNX with"
            " ultralytics"
        )
    if path.is_file() and path.suffix:
        if path.stat().st_size == 0:
            raise QpertError(f"detector file {model!r} is empty")
        return path
    if path.name != model:
        raise QpertError(f"detector file {model!r} does not exist (or is a folder)")
    return _official(path.name if path.suffix else f"{path.name}.pt", fetch)


def _official(name: str, fetch: bool) -> Path:
    target = DOWNLOADS.expanduser() / name
    if target.is_file():
        return target
    downloads = import_ultralytics().utils.downloads
    known = sorted(n for n in downloads.GITHUB_ASSETS_NAMES if n.endswith((".pt", ".onnx")))
    if name not in known:
        others = difflib.get_close_matches(name, [*known, "miniature.pt", "annotated.pt", "none.pt"], n=4, cutoff=0.5)
        near = ", ".join(other.removesuffix(".pt") for other in others)
        raise QpertError(
            f"unknown detector {name.removesuffix('.pt')!r}: neither a file here nor an ultralytics model"
            + (f"; near: {near}" if near else "")
        )
    if not fetch:
        return target
    try:
        path = Path(downloads.attempt_download_asset(str(target)))
    except Exception as error:  # network, disk and HTTP errors of several libraries
        raise QpertError(f"cannot download detector {name!r}: {_brief(error)}; give the path of a file") from error
    if not path.is_file():
        raise QpertError(f"cannot download detector {name!r}; give the path of a file")
    return path


def _onnx_input(weights: Path, wanted: int | None) -> tuple[int | None, int | list[int] | None]:
    """The fixed batch and image size of an ONNX file; None and `wanted` where the file leaves them open."""
    try:
        import onnxruntime
    except ImportError as error:
        raise QpertError(f"onnxruntime cannot be imported: {_brief(error)}; pip install 'qpert[onnx]'") from error
    try:
        session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
        _check_metadata(weights, session.get_modelmeta().custom_metadata_map)
        batch, _, height, width = session.get_inputs()[0].shape
    except QpertError:
        raise
    except Exception as error:  # a class of errors per cause, none of them shared
        raise QpertError(f"cannot read ONNX detector {str(weights)!r}: {_brief(error)}") from error
    size: int | list[int] | None = wanted
    if isinstance(height, int) and isinstance(width, int):
        size = height if height == width else [height, width]
        if wanted is not None and size != wanted:
            raise QpertError(
                f"{weights.name} takes images of {height}x{width} pixels only; leave --detector.image-size out"
            )
    return (batch if isinstance(batch, int) else None), size


def _check_metadata(weights: Path, metadata: Mapping[str, str]) -> None:
    """Refuses values that are not literals: some versions of ultralytics evaluate them."""
    for key in ("imgsz", "names", "kpt_shape", "kpt_names", "args", "end2end"):
        try:
            ast.literal_eval(metadata.get(key, "None"))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise QpertError(
                f"ONNX detector {str(weights)!r} was refused: its metadata {key} = {metadata[key][:60]!r} is code"
            ) from None


def _brief(error: Exception) -> str:
    """The first line of a message that may have several."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
