"""The embedded data set: little aerial photographs, drawn by code from a seed, with exact masks.

Each scene shows one stretch of land from above: meadows, woods, water, ploughed fields, roads and houses. Sun, haze,
film and camera vary strongly from scene to scene, so a handful of labeled scenes does not show a network all the
colours a class can have; many unlabeled ones do. No file is shipped and nothing is downloaded.

`layout` says where things lie, `painting` and `light` how they look on one date, `drawing` joins them, and `writing`
makes a folder of them.
"""

from semiseg.data.scenes.drawing import CLASSES, PALETTE, Scene, ScenePair, draw_pair, draw_scene
from semiseg.data.scenes.writing import write_scenes

__all__ = ["CLASSES", "PALETTE", "Scene", "ScenePair", "draw_pair", "draw_scene", "write_scenes"]
