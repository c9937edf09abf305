"""What the user should know of a plan because of the device: names that it refuses, and step sizes that the original's tools take otherwise."""

from __future__ import annotations

from nuqconv.backends.caffe.emit import deploy_names
from nuqconv.errors import some_of
from nuqconv.job.job import Job
from nuqconv.job.output_files import OutputFiles
from nuqconv.quantize.plan import Plan

__all__ = ["device_notes"]

SMALLEST_STEP, LARGEST_STEP = 1.2e-7, 8.4e6
"""Step sizes of activations below are replaced by 1 in the original, and above it stops."""

_SHOWN = 5


def device_notes(job: Job, plan: Plan, files: OutputFiles) -> tuple[str, ...]:
    """Returns notes on a plan whose deploy model is written; none where it is not.

    Args:
        job: The model.
        plan: Its plan.
        files: The files that the plan has.
    """
    if files.deploy_model is None:
        return ()
    notes = []
    names = [
        f"'{old}' is '{new}'" for old, new in deploy_names(job.quantizer.apply(plan)).items() if old in job.graph.node
    ]
    if names:
        notes.append(
            f"the device refuses the names of some layers, which the deploy model calls otherwise: {some_of(names, _SHOWN)}"
        )
    steps = {name: layer.activation.scale for name, layer in plan.items() if layer.activation is not None}
    odd = [f"{name} ({step:.3g})" for name, step in steps.items() if not SMALLEST_STEP <= step <= LARGEST_STEP]
    if odd:
        notes.append(
            f"the inputs of some layers have step sizes outside of {SMALLEST_STEP:g} to {LARGEST_STEP:g}, which the original takes for 1 or refuses: "
            f"{some_of(odd, _SHOWN)}"
        )
    return tuple(notes)
