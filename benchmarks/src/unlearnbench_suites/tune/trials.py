"""Settings of a method as rows of one plan: the same prompts, initial noise and judge for all of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unlearnbench.board.data import Identified
from unlearnbench.board.make import make_board
from unlearnbench.modelfiles import fingerprint_folder
from unlearnbench.results.publish import publish
from unlearnbench.run.execute import SerialExecutor
from unlearnbench.run.plan import CONTROLS, make_plan
from unlearnbench.spec import Ref
from unlearnbench_suites.tune.report import SHOWN, Report, Trial, choose, setting_name

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.board.data import Row
    from unlearnbench.progress import Reporter
    from unlearnbench.run.plan import Plan
    from unlearnbench.run.session import Session
    from unlearnbench.store import Store
    from unlearnbench_suites.tune.settings import Tuning


def plan_trials(session: Session, tuning: Tuning, method: str) -> Plan:
    """Return the plan of all settings of a method and of the controls; rows are in the order of the settings.

    Raises:
        UserError: the method or a parameter is unknown, a value is out of range, or a setting is listed twice.
    """
    return make_plan(
        session.suite,
        session.dataset,
        session.judge,
        session.plugins,
        [Ref(name=method, params=params) for params in tuning.settings[method]],
        model_fingerprint=fingerprint_folder(session.folder),
        method_seed=0,
        dtype="float32",
    )


def run_trials(
    session: Session, tuning: Tuning, method: str, plan: Plan, store: Store, *, device: str, reporter: Reporter
) -> Report:
    """Make what the store lacks of a plan of `plan_trials`, and return what is found."""
    machine = session.machine(device=device, dtype="float32", batch_size=20)
    run = SerialExecutor(plan, store, machine, reporter, "missing").execute()
    scores = publish(plan, run, store, session.suite).scores()
    model = Identified(id=session.suite.model.id, fingerprint=plan.protocol_fields["model"])
    # The store may hold rows of other methods, or of settings that are no longer tried.
    own = scores[scores["method"].isin(list(plan.methods))]
    board = make_board(own, title=session.suite.title, columns=SHOWN, model=model)
    rows = {row.method: row for row in board.rows}
    labels = [label for label in plan.methods if label not in CONTROLS]
    trials = [
        _trial(rows[label], setting_name(params), params)
        for label, params in zip(labels, tuning.settings[method], strict=True)
    ]
    made = [store.folder("edit", key) for key in plan.edits if run.outcomes[key].available]
    return Report(
        method=method,
        origin=next(iter(plan.edits.values())).origin,
        suite=session.suite.name,
        version=session.suite.version,
        forget=session.suite.forget,
        evaluate=session.suite.evaluate,
        protocol=plan.protocol,
        model=model,
        judge=board.judge,
        environment=_report(made[0])["environment"] if made else {},
        tie=tuning.tie,
        seconds=tuning.seconds,
        trials=tuple(trials),
        controls=tuple(_trial(rows[label], label, {}) for label in CONTROLS),
        chosen=choose(trials, tie=tuning.tie, seconds=tuning.seconds),
    )


def _trial(row: Row, name: str, params: dict[str, Any]) -> Trial:
    cells = {column: row.cells[column] for column in SHOWN}
    return Trial(name=name, params=params, cells=cells, failures=row.failures)


def _report(folder: Path) -> dict[str, Any]:
    """Read what was recorded beside an edit."""
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))
