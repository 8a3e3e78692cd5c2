"""Directions that lie on disk: what is read is what was kept, and half a set is none."""

from pathlib import Path

import pytest
import torch

from harness.scoring.influence.directions import Directions, gradient_name
from harness.scoring.influence.keeping import DirectionFolder
from harness.scoring.influence.shifting import Direction
from harness.scoring.influence.subspace import Subspace


def kept_directions(folder: DirectionFolder) -> Directions:
    draw = torch.Generator().manual_seed(0)
    halves = [{"a": torch.randn(3, 5, generator=draw), "b.weight": torch.randn(4, generator=draw)} for _ in range(2)]
    found = [
        Direction(folder.keep_gradient(gradient_name("harmful", half), gradient), 0.1 * (half + 1))
        for half, gradient in enumerate(halves)
    ]
    for direction, gradient in zip(found, halves, strict=True):
        assert all(torch.equal(direction.gradient[name], part) for name, part in gradient.items())
    return Directions({"harmful": found}, Subspace("last", 2))


@pytest.mark.parametrize("remote", [False, True], ids=["here", "object storage"])
def test_directions_come_back_bit_for_bit(tmp_path: Path, remote: bool) -> None:
    place = f"file://{tmp_path}/parts" if remote else str(tmp_path / "parts")
    kept = kept_directions(DirectionFolder(place))
    DirectionFolder(place).write_steps(kept)
    read = DirectionFolder(place).read()
    assert read is not None
    assert read.subspace == Subspace("last", 2)
    assert read.targets == ("harmful",)
    for mine, theirs in zip(read.by_target["harmful"], kept.by_target["harmful"], strict=True):
        assert mine.step == theirs.step
        assert mine.gradient.keys() == theirs.gradient.keys()
        assert all(torch.equal(mine.gradient[name], theirs.gradient[name]) for name in mine.gradient)


def test_gradients_without_their_steps_are_no_directions(tmp_path: Path) -> None:
    folder = DirectionFolder(str(tmp_path))
    kept_directions(folder)
    assert folder.read() is None


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux alone says what is mapped")
def test_a_kept_gradient_lies_on_disk_not_in_memory(tmp_path: Path) -> None:
    folder = DirectionFolder(str(tmp_path))
    mapped = folder.keep_gradient("refusal-0", {"weight": torch.ones(1 << 20)})
    place = mapped["weight"].data_ptr()
    regions = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    inside = [row for row in regions if int(row[0].split("-")[0], 16) <= place < int(row[0].split("-")[1], 16)]
    assert inside
    assert inside[0][-1] == str(tmp_path / "gradient-refusal-0.safetensors")
