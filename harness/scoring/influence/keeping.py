"""Directions on disk: one file a gradient, read as it is needed, so that however many there are take no memory."""

from __future__ import annotations

import json
import shutil
import tempfile

import safetensors.torch

from harness.scoring.influence.directions import Directions, gradient_name
from harness.scoring.influence.shifting import Direction, Gradient
from harness.scoring.influence.subspace import Subspace
from harness.support import storage

_STEPS = "directions.json"
"""Written last: where it lies, all gradients do."""


class DirectionFolder:
    """A folder, here or in object storage, in which the directions of a run lie for workers and for going on."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def keep_gradient(self, name: str, gradient: Gradient) -> Gradient:
        """Writes a gradient and gives it back as it lies on disk, mapped."""
        storage.write_bytes(self._place(name), safetensors.torch.save(dict(gradient)))
        return self._map_gradient(name)

    def write_steps(self, directions: Directions) -> None:
        """Writes what else there is to directions whose gradients all lie here."""
        steps = {target: [each.step for each in halves] for target, halves in directions.by_target.items()}
        told = {"steps": steps, "subspace": str(directions.subspace) if directions.subspace else None}
        storage.write_bytes(storage.join_path(self.folder, _STEPS), json.dumps(told).encode())

    def read(self) -> Directions | None:
        """The directions that lie here, whole; None where none do."""
        place = storage.join_path(self.folder, _STEPS)
        if not storage.is_file(place):
            return None
        with storage.open_for_reading(place) as stream:
            told = json.load(stream)
        by_target = {
            target: [
                Direction(self._map_gradient(gradient_name(target, half)), step) for half, step in enumerate(steps)
            ]
            for target, steps in told["steps"].items()
        }
        return Directions(by_target, Subspace.parse(told["subspace"]) if told["subspace"] else None)

    def _place(self, name: str) -> str:
        return storage.join_path(self.folder, f"gradient-{name}.safetensors")

    def _map_gradient(self, name: str) -> Gradient:
        place = self._place(name)
        if not storage.is_remote(place):
            return safetensors.torch.load_file(place)
        # What is mapped stays readable when its name goes, as long as it is in use.
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as local, storage.open_for_reading(place) as stream:
            shutil.copyfileobj(stream, local, 1 << 20)
            local.flush()
            return safetensors.torch.load_file(local.name)
