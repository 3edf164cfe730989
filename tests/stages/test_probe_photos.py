from __future__ import annotations

from pipeline.stages.probe_photos import probe_photos


def test_probe_photos_are_always_the_same_and_have_objects() -> None:
    once, again = probe_photos(), probe_photos()
    assert len(once) == 4
    for (image, objects), (other, _) in zip(once, again, strict=True):
        assert image.tobytes() == other.tobytes()
        assert len(objects) > 0
        assert float(objects.areas.min()) > 0
    assert len({image.tobytes() for image, _ in once}) == 4
