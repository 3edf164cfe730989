"""ultralytics behind our contract: right colours and boxes for every kind of file, and everything that can be wrong."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.datasets.scenes.drawing import draw_scene
from pipeline.datasets.scenes.layout import make_scene
from pipeline.detectors import DetectorConfig
from pipeline.detectors.yolo import MINIATURE, YoloDetector, find_weights, import_ultralytics
from pipeline.errors import QpertError

ARCHITECTURE = MINIATURE.with_name("yolo.yaml")
NANODET = Path(__file__).parents[3] / "shared" / "models" / "nanodet.onnx"
PHOTOS = Path(__file__).parents[3] / "shared" / "photos" / "flickr30k-images"


# A detector of colours, as ONNX: one constant box, (16, 24, 48, 40) in an input of 64 x 64, whose class scores are the
# means of the red, green and blue channels. Written byte by byte (protobuf), so that no library is needed to make it.
def _varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, kind: int, dims: tuple[int, ...], data: bytes) -> bytes:
    return b"".join(_field(1, d) for d in dims) + _field(2, kind) + _field(8, name) + _field(9, data)


def _value(name: str, dims: tuple[int | str, ...]) -> bytes:
    shape = b"".join(_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in dims)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _node(operator: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    return b"".join(_field(1, i) for i in inputs) + _field(2, output) + _field(4, operator) + attribute


def colour_onnx(batch: int) -> bytes:
    axis = _field(5, _field(1, "axis") + _field(3, 1) + _field(20, 2))
    nodes = [
        _node("GlobalAveragePool", ["images"], "means"),
        _node("Reshape", ["means", "shape"], "scores"),
        _node("Concat", ["box", "scores"], "output0", axis),
    ]
    boxes = struct.pack("<4f", 32, 32, 32, 16) * batch
    constants = [
        _tensor("shape", 7, (3,), struct.pack("<3q", batch, 3, 1)),
        _tensor("box", 1, (batch, 4, 1), boxes),
    ]
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, "g") + b"".join(_field(5, c) for c in constants)
    graph += _field(11, _value("images", (batch, 3, 64, 64))) + _field(12, _value("output0", (batch, 7, 1)))
    notes = {"names": "{0: 'red', 1: 'green', 2: 'blue'}", "task": "detect", "stride": "32", "batch": str(batch)}
    metadata = b"".join(_field(14, _field(1, key) + _field(2, value)) for key, value in notes.items())
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)) + metadata


@pytest.fixture(scope="module", params=[1, 3])
def colours(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    path: Path = tmp_path_factory.mktemp("onnx") / f"colours{request.param}.onnx"
    path.write_bytes(colour_onnx(request.param))
    return path


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("pt") / "untrained.pt"
    import_ultralytics().YOLO(str(ARCHITECTURE), task="detect").save(str(path))
    return path


def test_onnx_of_a_fixed_batch_and_size(colours: Path) -> None:
    """Four photos of different sizes through a batch of one and of three: letterboxing undone, colours not swapped."""
    images = [
        Image.new("RGB", (64, 64), (255, 0, 0)),
        Image.new("RGB", (128, 64), (0, 255, 0)),
        Image.new("RGB", (32, 64), (0, 0, 255)),
        Image.new("RGB", (64, 64), (20, 20, 20)),
    ]
    found = YoloDetector(DetectorConfig(model=str(colours), confidence=0.5)).detect([""] * len(images), images)
    assert [objects.labels for objects in found] == [("red",), ("green",), ("blue",), ()]
    assert [objects.size for objects in found] == [image.size for image in images]
    expected = [(0.25, 0.375, 0.75, 0.625), (0.25, 0.25, 0.75, 0.75), (0.0, 0.375, 1.0, 0.625)]
    for objects, box in zip(found, expected, strict=False):
        torch.testing.assert_close(objects.boxes, torch.tensor([box]), atol=0.02, rtol=0)
    assert found[0].scores[0] == pytest.approx(1.0, abs=1e-3)


def test_classes_and_confidence_select(colours: Path) -> None:
    images = [Image.new("RGB", (64, 64), colour) for colour in ((230, 0, 0), (0, 230, 0), (0, 80, 0))]
    kept = YoloDetector(DetectorConfig(model=str(colours), confidence=0.4, classes=("green", "blue")))
    assert [objects.labels for objects in kept.detect([""] * len(images), images)] == [(), ("green",), ()]
    with pytest.raises(QpertError, match=r"no class 'gren'; near: green"):
        YoloDetector(DetectorConfig(model=str(colours), classes=("gren",)))


def test_an_image_size_that_contradicts_a_fixed_input(colours: Path) -> None:
    with pytest.raises(QpertError, match="64x64 pixels only"):
        YoloDetector(DetectorConfig(model=str(colours), image_size=128))
    assert YoloDetector(DetectorConfig(model=str(colours), image_size=64)).detect([], []) == []


def test_pt_gets_rgb_scaled_to_one_and_leaves_the_threads(untrained: Path) -> None:
    before, environment = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(2)
    try:
        detector = YoloDetector(DetectorConfig(model=str(untrained), image_size=64))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert os.environ.get("OMP_NUM_THREADS") == environment
    seen: list[torch.Tensor] = []
    network = detector._model.predictor.model.model
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    detector.detect([""], [Image.new("RGB", (64, 64), (255, 102, 0))])
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.tensor([1.0, 0.4, 0.0]))


def test_objects_do_not_depend_on_the_batch_and_are_sorted(untrained: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    images = [
        Image.fromarray(torch.randint(0, 256, (h, w, 3), generator=generator, dtype=torch.uint8).numpy())
        for h, w in ((90, 160), (64, 64), (200, 40), (90, 160))
    ]
    detector = YoloDetector(DetectorConfig(model=str(untrained), confidence=0.001, max_objects=7, image_size=96))
    together = detector.detect([""] * len(images), images)
    assert all(0 < len(objects) <= 7 for objects in together)
    for image, objects in zip(images, together, strict=True):
        (alone,) = detector.detect([""], [image])
        torch.testing.assert_close(objects.boxes, alone.boxes, atol=1e-4, rtol=0)
        assert objects.labels == alone.labels
        assert objects.scores.tolist() == sorted(objects.scores.tolist(), reverse=True)


@pytest.mark.slow
def test_what_starts_sooner_for_few_photos_finds_the_same_objects() -> None:
    scenes = [draw_scene(make_scene(3, index)) for index in range(40)]
    ids = [str(number) for number in range(len(scenes))]
    # A low threshold, so that many boxes overlap.
    few, many = (YoloDetector(DetectorConfig(confidence=0.01, max_objects=60), photos=photos) for photos in (40, None))
    assert type(few._model.predictor) is not type(many._model.predictor)
    objects = few.detect(ids, scenes)
    assert sum(len(photo.labels) for photo in objects) > 150
    for photo, other in zip(objects, many.detect(ids, scenes), strict=True):
        assert photo.labels == other.labels
        torch.testing.assert_close(photo.boxes, other.boxes, rtol=0, atol=0)
        torch.testing.assert_close(photo.scores, other.scores, rtol=0, atol=0)


def test_wrong_files_and_names(tmp_path: Path) -> None:
    assert find_weights("miniature") == MINIATURE
    cases = {
        "no/such/file.pt": "does not exist",
        str(tmp_path / "gone.onnx"): "does not exist",
        "yollo11n": "unknown detector 'yollo11n'.*near: .*yolo11n",
        "miniatur": "near: miniature",
        "weights.engine": "neither a .pt nor an .onnx",
        "https://example.org/model.pt": "does not exist",
    }
    for model, message in cases.items():
        with pytest.raises(QpertError, match=message):
            find_weights(model)
    for name in ("bad.pt", "bad.onnx"):
        path = tmp_path / name
        path.write_bytes(b"")
        with pytest.raises(QpertError, match="is empty"):
            YoloDetector(DetectorConfig(model=str(path)))
        path.write_bytes(b"not a model\n" * 50)
        with pytest.raises(QpertError, match=r"cannot (use|read ONNX) detector"):
            YoloDetector(DetectorConfig(model=str(path)))


def test_a_missing_device_is_reported(untrained: Path) -> None:
    with pytest.raises(QpertError, match="cuda:99"):
        YoloDetector(DetectorConfig(model=str(untrained)), device="cuda:99")


class _Harmful:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    torch.save({"model": _Harmful(target), "train_args": {}}, tmp_path / "harmful.pt")
    with pytest.raises(QpertError, match=r"cannot use detector .*harmful\.pt.* its pickle could run code"):
        YoloDetector(DetectorConfig(model=str(tmp_path / "harmful.pt")))
    assert not target.exists()
    torch.load(tmp_path / "harmful.pt", weights_only=False)
    assert target.exists()  # so the file does run code when it is unpickled


@pytest.mark.parametrize(
    ("model", "message"),
    [
        *((f"model{suffix}", f"neither a .pt nor an .onnx file: {suffix} can hold code")
          for suffix in (".pth", ".pkl", ".ckpt", ".joblib", ".npy", ".bin", ".PT")),
        *((f"model{suffix}", f"neither a .pt nor an .onnx file: {suffix} is not opened")
          for suffix in (".yaml", ".yml", ".engine", ".torchscript", ".pb", ".tflite", ".mlpackage", ".mnn")),
        *((url, "nothing is fetched from URLs")
          for url in ("http://127.0.0.1/a.pt", "ul://user/model", "grpc://host/model", "rtsp://h/a.onnx", "http://h/m")),
        ("a_openvino_model", "unknown detector"),
        ("folder.pt", "neither a file here"),
    ],
)  # fmt: skip
def test_other_formats_of_ultralytics_are_refused(
    model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if model in ("a_openvino_model", "folder.pt"):
        Path(model).mkdir()
    elif "://" not in model:
        Path(model).write_text("!!python/object/apply:os.mkdir [ran]")
    with pytest.raises(QpertError, match=message):
        YoloDetector(DetectorConfig(model=model))
    assert not Path("ran").exists()


def test_code_in_the_metadata_of_onnx_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "code.onnx"
    names, code = b"{0: 'red', 1: 'green', 2: 'blue'}", b"__import__('os').mkdir('ran')    "
    assert len(names) == len(code)
    path.write_bytes(colour_onnx(1).replace(names, code))
    with pytest.raises(QpertError, match=r"metadata names = .* is code"):
        YoloDetector(DetectorConfig(model=str(path)))


def test_official_model_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_ultralytics()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(QpertError, match=r"cannot download detector 'yolo11n\.pt'.*path of a file"):
        find_weights("yolo11n")


@pytest.mark.slow
def test_switches_of_a_fresh_process() -> None:
    """Nothing is installed, sent or unpickled, whatever the environment says; unsafe loading from before is refused."""
    script = """
import os
from pipeline.detectors.yolo import import_ultralytics
assert "OMP_NUM_THREADS" not in os.environ
utils = import_ultralytics().utils
assert "OMP_NUM_THREADS" not in os.environ
assert (utils.AUTOINSTALL, utils.ONLINE, utils.SAFE_LOAD) == (False, False, True)
from ultralytics.utils.events import events
assert not events.enabled
utils.SAFE_LOAD = False
import_ultralytics.cache_clear()
try:
    import_ultralytics()
except Exception as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "ULTRALYTICS_", "OMP_"))}
    environment |= {"ULTRALYTICS_SAFE_LOAD": "no", "YOLO_AUTOINSTALL": "yes"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "would unpickle any checkpoint" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not NANODET.is_file() or not PHOTOS.is_dir(), reason="the shared model and photos are not here")
def test_a_real_detector_on_real_photos() -> None:
    pytest.importorskip("onnxruntime")
    detector = YoloDetector(DetectorConfig(model=str(NANODET), confidence=0.3, classes=("person", "cat", "dog", "bus")))
    assert len(detector.names) == 80
    images = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    found = detector.detect([""] * len(images), images)
    assert [objects.size for objects in found] == [image.size for image in images]
    assert sum(len(objects) for objects in found) > 10
