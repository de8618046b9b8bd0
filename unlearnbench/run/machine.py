"""Where tasks run: the model and the judge, each loaded when a task first needs it."""

from __future__ import annotations

import logging
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearnbench.discovery import Sink, one_line
from unlearnbench.errors import PrerequisiteError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.model import Model
    from unlearnbench.run.plan import Judge
    from unlearnbench.spec import Dtype, ModelSpec


@dataclass
class Machine:
    """Where and with which model the tasks run; the model is loaded when the first task needs it."""

    spec: ModelSpec
    folder: Path
    device: str
    dtype: Dtype
    batch_size: int
    _model: Model | None = None

    @property
    def model(self) -> Model:
        """Return the pristine base model, loading it at first use."""
        if self._model is None:
            from unlearnbench.model import load_model
            from unlearnbench.run.stages import resolve_device

            self._model = load_model(self.spec, self.folder, resolve_device(self.device), self.dtype)
        return self._model

    def release(self) -> None:
        """Free the model, so that a judge has the memory for itself."""
        self._model = None

    def judge(self, judge: Judge) -> Any:
        """Load an evaluator on the device of the tasks."""
        return load_judge(judge, self.device)


def load_judge(judge: Judge, device: str) -> Any:
    """Load an evaluator; without it no image can be scored, so what it raises ends the run.

    Raises:
        UserError: what its author says to the user.
        PrerequisiteError: its setup raised something else.
    """
    import torch

    from unlearnbench.run.stages import resolve_device

    evaluator = judge.entry.load()(judge.params)
    context = JudgeContext(torch.device(resolve_device(device)), logging.getLogger("unlearnbench.evaluator"))
    try:
        with redirect_stdout(Sink()):
            evaluator.setup(context)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        plugin = judge.entry.plugin
        raise PrerequisiteError(
            f"the judge '{judge.name}' of {plugin.distribution} {plugin.version} cannot be set up: "
            + one_line(f"{type(error).__name__}: {error}"),
            "the images are stored: mend its setup, or choose another evaluator (-v: its traceback)",
        ) from error
    return evaluator


@dataclass(frozen=True)
class JudgeContext:
    """What an evaluator is lent (`api.EvaluatorContext`)."""

    device: Any
    log: Any
