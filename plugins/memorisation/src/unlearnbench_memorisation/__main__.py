"""`python -m unlearnbench_memorisation SUITE --method NAME`: noise-prediction losses of the stored edits of a suite.

A judge of unlearnbench sees images alone. The loss needs the model, and no prompt or sampler, so it is no score of the
board but a report on edits that `unlearnbench run` has stored.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.model import load_model
from unlearnbench.plugins import load_plugins
from unlearnbench.run.session import Session
from unlearnbench.run.stages import load_edit, resolve_device
from unlearnbench.store import Store, default_root
from unlearnbench_memorisation.loss import image_losses, membership_auc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unlearnbench.api import DataImage
    from unlearnbench.model import Model


def report(
    suite: str, methods: Sequence[str], store: Store, *, device: str, draws: int, limit: int
) -> list[dict[str, Any]]:
    """Return one row for the unedited model and for each stored edit and forgotten concept.

    A row holds the mean loss on the concept's images (`forget`), on other training images (`retain`) and on images that
    the model never saw (`heldout`), and `membership`, the chance that an image of the concept has a lower loss than a
    held-out one. An edit that is not stored has a row without losses, and a reason.

    Args:
        suite: name or file; its task is 'data'.
        methods: names of methods, with the suite's presets and the default seed.
        store: where the edits are.
        device: as `unlearnbench run` takes it.
        draws: noises for each image and timestep.
        limit: retained and held-out images, at most this many of each.

    Raises:
        UserError: a name is unknown, or the suite forgets no training images.
    """
    session = Session.open(load_plugins(), suite)
    if session.suite.task != "data":
        raise UserError(f"the suite {session.suite.name} forgets no training images", "name one with task = 'data'")
    plan = session.plan(methods, seed=0, dtype="float32")
    train, heldout = session.dataset.images("train"), session.dataset.images("heldout")
    model = load_model(session.suite.model, session.folder, resolve_device(device), "float32")
    wanted = {(cell.method, cell.forget): cell.edit for cell in plan.cells if cell.method != "prompt-swap"}
    rows = []
    for (method, concept), key in wanted.items():
        row: dict[str, Any] = {"method": method, "concept": concept}
        if key is not None and not store.has("edit", key):
            rows.append({**row, "reason": "the edit is not stored: type `unlearnbench run` first"})
            continue
        parts = {
            "forget": [image for image in train if image.concept == concept],
            "retain": [image for image in train if image.concept != concept][:limit],
            "heldout": list(heldout[:limit]),
        }
        with model.edited() as edited:
            if key is not None and (tensors := load_edit(store.folder("edit", key)).tensors):
                edited.apply(tensors)
            rows.append({**row, **measure(edited, parts, draws)})
    return rows


def measure(model: Model, parts: dict[str, list[DataImage]], draws: int) -> dict[str, float | None]:
    """Return the mean loss on each part, and the chance that the first is told from the last; None = no image."""
    losses = {name: image_losses(model, images, draws=draws) for name, images in parts.items()}
    both = losses["forget"] and losses["heldout"]
    return {
        **{name: fmean(found) if found else None for name, found in losses.items()},
        "membership": membership_auc(losses["forget"], losses["heldout"]) if both else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m unlearnbench_memorisation", description=__doc__)
    parser.add_argument("suite", help="suite with task = data")
    parser.add_argument("--method", action="append", default=[], help="method; may be given again")
    parser.add_argument("--store", type=Path, help="store; default: as for unlearnbench run")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--draws", type=int, default=1, help="noises for each image and timestep")
    parser.add_argument("--limit", type=int, default=64, help="retained and held-out images, at most")
    given = parser.parse_args(arguments)
    try:
        rows = report(
            given.suite, given.method, Store(given.store or default_root()),
            device=given.device, draws=given.draws, limit=given.limit,
        )  # fmt: skip
    except UserError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    json.dump({"rows": rows}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
