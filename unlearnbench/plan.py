"""From a suite and a list of methods to the tasks that make a board. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unlearnbench.api import (
    Concept,
    ConceptDataset,
    DataImage,
    ForgetConcept,
    MethodSpec,
    Params,
    Prompt,
    Question,
    Request,
    Task,
)
from unlearnbench.errors import UserError
from unlearnbench.identity import canonical_json, digest
from unlearnbench.several import groups, label_of
from unlearnbench.spec import Dtype, EditTask, Origin, Ref, SampleTask, ScoreTask, SetScoreTask, Suite
from unlearnbench.suites import explain
from unlearnbench.words import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.plugins import Entry, Plugins

UNEDITED = "unedited"
PROMPT_SWAP = "prompt-swap"
CONTROLS = (UNEDITED, PROMPT_SWAP)


@dataclass(frozen=True)
class Judge:
    """The evaluator or the set evaluator of a plan, with everything that enters a score key."""

    name: str
    origin: Origin
    params: Params
    fingerprint: str
    entry: Entry[Any]


@dataclass(frozen=True)
class Cell:
    """Images of one evaluated concept by one row of the board, after forgetting what `forget` names."""

    method: str
    forget: str
    concept: Concept
    role: str
    neighbour: bool
    prompts: tuple[Prompt, ...]
    swapped: bool
    edit: str | None
    sample: str
    score: str
    compared: str | None = None


@dataclass
class Plan:
    """All tasks of a run by key, and the cells that the board is made of.

    `methods` maps a row label to (plugin name, method seed). `comparer` is the set evaluator; None = there is none.
    """

    suite: Suite
    protocol: str
    protocol_fields: dict[str, Any]
    judge: Judge
    comparer: Judge | None = None
    methods: dict[str, tuple[str, int]] = field(default_factory=dict)
    entries: dict[str, Entry[MethodSpec]] = field(default_factory=dict)
    edits: dict[str, EditTask] = field(default_factory=dict)
    samples: dict[str, SampleTask] = field(default_factory=dict)
    scores: dict[str, ScoreTask] = field(default_factory=dict)
    comparisons: dict[str, SetScoreTask] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def images(self) -> int:
        """Return how many images the plan needs, shared ones counted once."""
        return sum(t.images for t in self.samples.values())


def check_params(params_type: type[Params], values: Mapping[str, Any], owner: str) -> Params:
    """Validate parameters.

    Raises:
        UserError: a parameter is unknown or out of range.
    """
    try:
        return params_type.model_validate(dict(values))
    except ValidationError as error:
        what = explain(error, list(params_type.model_fields))
        raise UserError(f"parameter of {owner}: {what}", f"type `unlearnbench show {owner}` to see all") from error


def make_request(dataset: ConceptDataset, forget: Sequence[str], task: Task = "erase") -> Request:
    """Return the request to forget concepts of a data set and to retain all others that are not held out.

    The retain prompts are the edit prompts of every other concept, less those of overlapping concepts and any prompt
    that is an edit prompt of a forgotten concept or holds its name or an alias, as "a dog drawn in ink" does for the
    style ink: no method can forget what it is told to protect. Training images are part of the task 'data' only, and
    so are attributes of 'debias': what another task does not need is in no key.

    Raises:
        UserError: the data set lacks what the task needs: images, or attributes.
    """
    chosen = [dataset.concepts[c] for c in forget]
    excluded = {c.id for c in chosen} | {o for c in chosen for o in c.overlaps}
    others = [c for c in dataset.concepts.values() if c.id not in excluded and not c.held_out]
    edited = {_normal(pair.prompt) for c in chosen for pair in c.edit}
    retain = dict.fromkeys(
        pair.prompt
        for c in others
        for pair in c.edit
        if _normal(pair.prompt) not in edited and not any(names(pair.prompt, gone) for gone in chosen)
    )
    images = dataset.images("train") if task == "data" else ()
    _check_task(task, chosen, images)
    return Request(
        task=task,
        forget=tuple(
            ForgetConcept(
                id=c.id, kind=c.kind, name=c.display, aliases=c.aliases, target=c.target.display, pairs=c.edit,
                attributes=c.attributes if task == "debias" else (),
            )
            for c in chosen
        ),
        retain=tuple(retain),
        retain_names=tuple(c.display for c in others),
        forget_images=tuple(image for image in images if image.concept in forget),
        retain_images=tuple(image for image in images if image.concept not in forget),
    )  # fmt: skip


def _check_task(task: Task, chosen: Sequence[Concept], images: Sequence[DataImage]) -> None:
    """Refuse concepts that lack what the task needs."""
    have = {image.concept for image in images} if task == "data" else {c.id for c in chosen if c.attributes}
    lacking = [c.id for c in chosen if c.id not in have] if task in ("debias", "data") else []
    if lacking:
        what = "attributes to balance" if task == "debias" else "training images to forget"
        raise UserError(f"the data set has no {what} for {', '.join(lacking)}", "choose other concepts or another task")


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def make_plan(
    suite: Suite,
    dataset: ConceptDataset,
    judge: Judge,
    plugins: Plugins,
    methods: Sequence[Ref],
    *,
    model_fingerprint: str,
    method_seed: int,
    dtype: Dtype,
    comparer: Judge | None = None,
) -> Plan:
    """Make the plan of a run: the controls, then one edit for each method and forgotten concept.

    Args:
        suite: the suite, already narrowed.
        dataset: its data set.
        judge: the evaluator.
        plugins: where methods are looked up.
        methods: the methods to run; their parameters override the suite's presets.
        model_fingerprint: tagged digest of the base model.
        method_seed: seed of the methods' own randomness.
        dtype: arithmetic of the edit.
        comparer: the set evaluator; None = there is none.

    Raises:
        UserError: a method or a parameter is unknown, or two rows would have the same label.
    """
    arithmetic = suite.sampler.dtype or dtype
    if arithmetic != dtype and dtype != "float32":
        raise UserError(
            f"a model in {dtype} cannot sample in {arithmetic}, which suite {suite.name} asks for",
            f"type --dtype {arithmetic}" + (" or --dtype float32" if arithmetic != "float32" else ""),
        )
    fields = protocol_fields(suite, dataset, judge, model_fingerprint, dtype, comparer)
    plan = Plan(suite, digest(fields), fields, judge, comparer)
    for label in CONTROLS:
        plan.methods[label] = (label, 0)
        for group in groups(suite):
            _add_cells(plan, dataset, label, group, None)
    for ref in methods:
        entry = plugins.methods.get(ref.name)
        preset = suite.presets.get(entry.spec.name, {})
        params = check_params(entry.load_params(), {**preset, **ref.params}, ref.name)
        label = _label(ref)
        if label in plan.methods:
            raise UserError(f"two rows would be called '{label}'", "name each method once, or give it other parameters")
        plan.methods[label] = (entry.spec.name, method_seed)
        plan.entries[label] = entry
        origin = entry.origin()
        for group in groups(suite):
            request = make_request(dataset, group, suite.task)
            if suite.several == "sequence" and len(group) > 1:
                request = request.model_copy(update={"sequence": True})
            task = EditTask(
                method=entry.spec.name,
                origin=origin,
                params=params.model_dump(mode="json"),
                request=request,
                model=model_fingerprint,
                seed=method_seed,
                dtype=dtype,
                reads=dict(params.reads(request)),
            )
            key = task.key()
            plan.edits[key] = task
            _add_cells(plan, dataset, label, group, key)
    return plan


def protocol_fields(
    suite: Suite,
    dataset: ConceptDataset,
    judge: Judge,
    model_fingerprint: str,
    dtype: Dtype,
    comparer: Judge | None = None,
) -> dict[str, Any]:
    """Return what two rows must share to stand on the same board."""
    return {
        "suite": suite.name,
        "version": suite.version,
        "model": model_fingerprint,
        "forget": [label_of(group, suite) for group in groups(suite)],
        "evaluate": list(suite.evaluate),
        **({} if suite.task == "erase" else {"task": suite.task}),
        "prompts": {c: [p.model_dump() for p in dataset.prompts(c)] for c in suite.evaluate},
        "questions": {c: make_question(dataset, dataset.concepts[c], suite.task).model_dump() for c in suite.evaluate},
        "overlaps": {c: list(dataset.concepts[c].overlaps) for c in suite.forget},
        "neighbours": {c: list(dataset.concepts[c].neighbours) for c in suite.evaluate},
        "seeds": list(suite.seeds),
        "sampler": suite.sampler.model_dump(),
        "dtype": dtype,
        "judge": _identified(judge),
        **({} if comparer is None else {"set_evaluator": _identified(comparer)}),
    }


def _identified(judge: Judge) -> dict[str, Any]:
    return {
        "name": judge.name,
        "origin": judge.origin.model_dump(),
        "params": judge.params.model_dump(mode="json"),
        "fingerprint": judge.fingerprint,
    }


def _label(ref: Ref) -> str:
    """Return the row label: the name, and the parameters that were given for it."""
    given = ",".join(f"{k}={canonical_json(v).strip(chr(34))}" for k, v in sorted(ref.params.items()))
    return f"{ref.name}[{given}]" if given else ref.name


def _add_cells(plan: Plan, dataset: ConceptDataset, label: str, group: Sequence[str], edit: str | None) -> None:
    """Add the cells of one row and the concepts that one edit forgets, with their sample and score tasks."""
    suite, erased = plan.suite, [dataset.concepts[name] for name in group]
    overlaps = {name for one in erased for name in one.overlaps}
    neighbours = {name for one in erased for name in one.neighbours}
    for name in suite.evaluate:
        concept = dataset.concepts[name]
        role = "forget" if name in group else "overlap" if name in overlaps else "retain"
        # The ceiling: the unedited model is asked for the target, so only the forgotten concept's images differ.
        swapped = label == PROMPT_SWAP and role == "forget"
        prompts = dataset.prompts(name)
        sample = SampleTask(
            model=plan.protocol_fields["model"],
            edit=edit,
            prompts=tuple(p.target_text if swapped else p.text for p in prompts),
            seeds=suite.seeds,
            sampler=suite.sampler,
            dtype=plan.protocol_fields["dtype"],
        )
        sample_key = sample.key()
        score = ScoreTask(
            sample=sample_key,
            evaluator=plan.judge.name,
            origin=plan.judge.origin,
            params=plan.judge.params.model_dump(mode="json"),
            fingerprint=plan.judge.fingerprint,
            question=make_question(dataset, concept, suite.task),
        )
        score_key = score.key()
        plan.samples[sample_key] = sample
        plan.scores[score_key] = score
        compared = _compare(plan, sample_key, score)
        plan.cells.append(
            Cell(
                method=label,
                forget=label_of(group, suite),
                concept=concept,
                role=role,
                neighbour=role == "retain" and (name in neighbours or not set(group).isdisjoint(concept.neighbours)),
                prompts=prompts,
                swapped=swapped,
                edit=edit,
                sample=sample_key,
                score=score_key,
                compared=compared,
            )
        )


def _compare(plan: Plan, key: str, score: ScoreTask) -> str | None:
    """Add the comparison of a sample task with the unedited model's images for the same concept; return its key."""
    if plan.comparer is None:
        return None
    concept = score.question.concept
    own = (cell.sample for cell in plan.cells if cell.method == UNEDITED and cell.concept.id == concept)
    base = next(own, key)  # the first rows are those of the unedited model: it is compared with itself
    task = SetScoreTask(
        edited=key,
        reference=base,
        evaluator=plan.comparer.name,
        origin=plan.comparer.origin,
        params=plan.comparer.params.model_dump(mode="json"),
        fingerprint=plan.comparer.fingerprint,
        question=score.question,
    )
    plan.comparisons[task.key()] = task
    return task.key()


def make_question(dataset: ConceptDataset, concept: Concept, task: Task = "erase") -> Question:
    """Return what the judge is asked about images of a concept: the classes of its kind, itself and its target.

    To 'debias' adds the concept's attributes; 'data' adds the training images of the concept, if it has any, and with
    them all others.
    """
    images = dataset.images("train") if task == "data" else ()
    own = tuple(image for image in images if image.concept == concept.id)
    classes = {
        concept.id: concept.display,
        concept.target.id: concept.target.display,
        **dataset.classes(concept.kind),  # the data set's own words for a class go before a concept's display
    }
    return Question(
        concept=concept.id,
        kind=concept.kind,
        display=concept.display,
        description=concept.description,
        target=concept.target,
        classes=classes,
        attributes=concept.attributes if task == "debias" else (),
        images=own,
        others=tuple(image for image in images if image.concept != concept.id) if own else (),
    )
