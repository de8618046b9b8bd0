"""What one edit of a small random model does to the model and to everything else; the checks of methods look at it."""

from __future__ import annotations

import hashlib
import logging
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from unlearnbench.api import Attribute, DataImage, EditPair, ForgetConcept, ModelInfo, Request, Sampling
from unlearnbench.checks.outcome import Skipped
from unlearnbench.checks.writes import watched
from unlearnbench.edits import cpu_copy, same_bits
from unlearnbench.leaks import Leak, contained
from unlearnbench.progress import Reporter
from unlearnbench.run.look import Look, look
from unlearnbench.run.stages import HarnessContext
from unlearnbench.testing.models import tiny_model

if TYPE_CHECKING:
    from unlearnbench.api import Method
    from unlearnbench.checks.subject import Subject
    from unlearnbench.model import Model

Shape = Literal["main", "other"]
# The text length of Stable Diffusion but not its width; then neither, and the particulars of version 2.
SHAPES: dict[Shape, dict[str, Any]] = {
    "main": {"version": 1, "width": 32, "positions": 77},
    "other": {"version": 2, "width": 48, "positions": 24},
}
ALIEN = ModelInfo(
    id="alien", fingerprint="ub1:alien", family="alien", text_width=17, text_layers=0, text_positions=5,
    latent_size=3, parameters=1,
)  # fmt: skip


def _concept(name: str, kind: Literal["object", "scene"], target: str) -> ForgetConcept:
    contexts = ("a photo of a {}", "a red {} in the rain", "painting of the {}")
    pairs = tuple(EditPair(prompt=c.format(name), target=c.format(target)) for c in contexts)
    return ForgetConcept(id=name, kind=kind, name=name, aliases=(f"big {name}",), target=target, pairs=pairs)


_CAT, _BEACH = _concept("cat", "object", "dog"), _concept("beach", "scene", "city")
_RETAIN = ("a photo of a bird", "an apple and a pear", "a green tree", "picture of the house", "sun and blue sky")
ONE = Request(forget=(_CAT,), retain=_RETAIN, retain_names=("bird", "apple", "tree", "house"))
TWO = Request(forget=(_CAT, _BEACH), retain=_RETAIN, retain_names=("bird", "apple", "tree", "house"))


def asked(method: Method[Any], request: Request) -> Request:
    """Return a request to erase as a method can be asked for it: as the first of its tasks, with what that needs."""
    task = method.tasks[0]
    if task == "debias":
        shares = tuple(
            Attribute(id=n, display=f"a {n} thing", prompt=f"a {n} thing", desired=0.5) for n in ("red", "blue")
        )
        biased = tuple(concept.model_copy(update={"attributes": shares}) for concept in request.forget)
        return request.model_copy(update={"task": task, "forget": biased})
    if task == "data":
        names = {concept.id for concept in request.forget}
        images = [_image(c.id, c.id) for c in TWO.forget] + [_image(name) for name in ("house", "tree", "apple")]
        forget, retain = (tuple(i for i in images if (i.concept in names) is wanted) for wanted in (True, False))
        return request.model_copy(update={"task": task, "forget_images": forget, "retain_images": retain})
    return request.model_copy(update={"task": task})


def _image(name: str, concept: str = "") -> DataImage:
    """Return a made-up image, 16 x 16, with the caption of a photograph."""
    from PIL import Image

    pixels = b"".join(hashlib.sha256(f"{name}/{row}".encode()).digest() for row in range(24))
    picture = Image.frombytes("RGB", (16, 16), pixels)
    return DataImage.lazily(lambda: picture, id=name, caption=f"a photo of a {name}", concept=concept)


class RecordingContext:
    """The harness's context (`api.EditContext`); it notes whether the method asks for randomness."""

    def __init__(self, inner: HarnessContext) -> None:
        self._inner = inner
        self.device, self.tmp, self.log = inner.device, inner.tmp, inner.log
        self.progress, self.report = inner.progress, inner.report
        self.random = False

    @property
    def seed(self) -> int:
        """Return the seed of the edit."""
        self.random = True
        return self._inner.seed

    def generator(self, *scope: str | int) -> torch.Generator:
        """Return the harness's generator."""
        self.random = True
        return self._inner.generator(*scope)


@dataclass(frozen=True)
class Observation:
    """One edit.

    Attributes:
        refusal: why `supports` refused it; None if it did not.
        error: what `edit` raised.
        trouble: its traceback.
        sampling: what `edit` returned.
        before: the model before.
        after: the model after.
        changed: tensors whose bits differ and whose shape and dtype do not: name -> value.
        base: prediction of the unedited model.
        prediction: prediction of the edited model, or the exception that it raises.
        random: whether the method asked for the seed or a generator.
        leaks: global state that was left changed.
        written: files outside `ctx.tmp`.
    """

    refusal: str | None = None
    error: BaseException | None = None
    trouble: str = ""
    sampling: Sampling | None = None
    before: Look | None = None
    after: Look | None = None
    changed: dict[str, torch.Tensor] = field(default_factory=dict)
    base: torch.Tensor | None = None
    prediction: torch.Tensor | Exception | None = None
    random: bool = False
    leaks: tuple[Leak, ...] = ()
    written: tuple[str, ...] = ()


def observe(
    subject: Subject, *, shape: Shape = "main", request: Request = ONE, seed: int = 0, again: int = 0
) -> Observation:
    """Return what one edit does, made once for each combination of arguments.

    Args:
        subject: the method.
        shape: which small model.
        request: what is forgotten.
        seed: seed of the method.
        again: number of the repetition.

    Raises:
        Skipped: the method refused or broke the edit; `check_edit` tells.
    """
    seen = attempt(subject, shape=shape, request=request, seed=seed, again=again)
    if seen.refusal is not None:
        raise Skipped(f"the method refuses this edit: {seen.refusal}")
    if seen.error is not None:
        raise Skipped(f"this edit fails: {type(seen.error).__name__}")
    return seen


def attempt(
    subject: Subject, *, shape: Shape = "main", request: Request = ONE, seed: int = 0, again: int = 0
) -> Observation:
    """Do as `observe` does, but return an edit that was refused or broke too."""
    key = ("edit", shape, len(request.forget), seed, again)
    return subject.remember(key, lambda: _edit(subject, small(shape), request, seed))


def small(shape: Shape) -> Model:
    """Return a new small random model."""
    with contained():
        return tiny_model(**SHAPES[shape])


def _edit(subject: Subject, model: Model, request: Request, seed: int) -> Observation:
    method = subject.make()
    request = asked(method, request)
    refusal = method.refusal(model.info, request)
    if refusal is not None:
        return Observation(refusal=str(refusal))
    before, base = look(model), predict(model)
    values = {name: cpu_copy(tensor) for name, tensor in model.tensors().items()}
    allowed = subject.folder("tmp")
    log = logging.getLogger(f"unlearnbench.method.{subject.spec.name}")
    context = RecordingContext(HarnessContext(seed, model.device, allowed, log, Reporter(), {}))
    error: BaseException | None = None
    sampling, trouble = None, ""
    with watched(allowed, subject.folder("work")) as written, contained() as leaks:
        try:
            sampling = method.edit(model, request, context)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001  a method may raise anything
            error, trouble = raised, traceback.format_exc()
    after = look(model)
    changed = {
        name: cpu_copy(tensor)
        for name, tensor in model.tensors().items()
        if before.tensors.get(name) == after.tensors[name] and not same_bits(tensor, values[name])
    }
    try:
        prediction: torch.Tensor | Exception = predict(model)
    except Exception as raised:  # noqa: BLE001  what an edited model raises is told by a check
        prediction = raised
    return Observation(
        error=error,
        trouble=trouble,
        sampling=sampling,
        before=before,
        after=after,
        changed=changed,
        base=base,
        prediction=prediction,
        random=context.random,
        leaks=tuple(leaks),
        written=tuple(written),
    )


@torch.no_grad()
def predict(model: Model) -> torch.Tensor:
    """Return the noise prediction of a fixed input for two prompts, [2, 4, s, s]."""
    generator = torch.Generator().manual_seed(0)
    size = model.info.latent_size
    latents = torch.randn(2, model.unet.config.in_channels, size, size, generator=generator)
    states = model.encode(["a photo of a cat", "the sun on a beach"]).states
    found: torch.Tensor = model.unet(latents, 500, encoder_hidden_states=states, return_dict=False)[0]
    return found
