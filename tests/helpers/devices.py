"""A device that is no CPU, though its tensors stay here: the branches that a GPU takes, without one."""

from torch import Tensor

from harness.scoring.packing import plan_attention


class Elsewhere:
    """Stands for such a device."""

    type = "elsewhere"


def rename_device(monkeypatch, module):
    """Has `plan_attention`, as a module knows it, plan for a device elsewhere."""
    move = Tensor.to

    def stay(tensor, *args, **options):
        return tensor if args and isinstance(args[0], Elsewhere) else move(tensor, *args, **options)

    monkeypatch.setattr(
        module, "plan_attention", lambda segments, nodes, _, base: plan_attention(segments, nodes, Elsewhere(), base)
    )
    monkeypatch.setattr(Tensor, "to", stay)
