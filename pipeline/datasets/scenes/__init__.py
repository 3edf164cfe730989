"""Synthetic scenes of coloured shapes: their layout, drawing, captions, and files."""

from pipeline.datasets.scenes.captions import Caption, make_captions, vocabulary
from pipeline.datasets.scenes.drawing import draw_scene
from pipeline.datasets.scenes.layout import make_scene
from pipeline.datasets.scenes.scene import COLOURS, SCENE_SIZE, SHAPES, Profile, Scene, SceneObject
from pipeline.datasets.scenes.writer import KARPATHY_FILE, distinct_scenes, write_scenes

__all__ = [
    "COLOURS",
    "KARPATHY_FILE",
    "SCENE_SIZE",
    "SHAPES",
    "Caption",
    "Profile",
    "Scene",
    "SceneObject",
    "distinct_scenes",
    "draw_scene",
    "make_captions",
    "make_scene",
    "vocabulary",
    "write_scenes",
]
