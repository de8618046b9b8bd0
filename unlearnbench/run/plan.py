"""From a suite and a list of methods to the tasks that make a board. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.identity import digest
from unlearnbench.run.protocol import protocol_fields
from unlearnbench.run.request import make_question, make_request
from unlearnbench.run.several import groups, label_of
from unlearnbench.spec import Dtype, EditTask, Origin, Ref, SampleTask, ScoreTask, SetScoreTask, Suite
from unlearnbench.suites import controls_of, explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import Concept, ConceptDataset, MethodSpec, Params, Prompt, Question, Request
    from unlearnbench.captions import CaptionSet
    from unlearnbench.plugins import Entry, Plugins

UNEDITED = "unedited"
PROMPT_SWAP = "prompt-swap"
CONTROLS = (UNEDITED, PROMPT_SWAP)  # what every run has; other controls are methods whose spec says so


@dataclass(frozen=True)
class Judge:
    """The evaluator or the set evaluator of a plan, with everything that enters a score key."""

    name: str
    origin: Origin
    params: Params
    fingerprint: str
    entry: Entry[Any]

    def asked(self, question: Question) -> dict[str, Any]:
        """Return the fields of a task (`spec.Judged`) in which this evaluator is asked a question."""
        return {
            "evaluator": self.name,
            "origin": self.origin,
            "params": self.params.model_dump(mode="json"),
            "fingerprint": self.fingerprint,
            "question": question,
        }


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
    captions: str | None = None


@dataclass
class Plan:
    """All tasks of a run by key, and the cells that the board is made of.

    `methods` maps a row label to (plugin name, method seed). `comparer` is the set evaluator; None = there is none.
    It also compares the images of `captions`, once for each edit.
    """

    suite: Suite
    protocol: str
    protocol_fields: dict[str, Any]
    judge: Judge
    comparer: Judge | None = None
    captions: CaptionSet | None = None
    methods: dict[str, tuple[str, int]] = field(default_factory=dict)
    entries: dict[str, Entry[MethodSpec]] = field(default_factory=dict)
    edits: dict[str, EditTask] = field(default_factory=dict)
    samples: dict[str, SampleTask] = field(default_factory=dict)
    scores: dict[str, ScoreTask] = field(default_factory=dict)
    comparisons: dict[str, SetScoreTask] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    def is_control(self, label: str) -> bool:
        """Tell whether a row is a control."""
        return label not in self.entries or self.entries[label].spec.control

    def control_edits(self) -> frozenset[str]:
        """Return the keys of the edits of controls."""
        return frozenset(c.edit for c in self.cells if c.edit is not None and self.is_control(c.method))

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
    captions: CaptionSet | None = None,
    absent: bool = False,
) -> Plan:
    """Make the plan of a run: the controls, then one edit for each method and forgotten concept.

    A control that both the suite and `methods` name, with the same parameters, runs once.

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
        captions: what the set evaluator compares besides; None = nothing.
        absent: what a method reads besides need not be on this machine; its edits have keys of their own then.

    Raises:
        PrerequisiteError: what a method reads besides is not on this machine.
        UserError: a method or a parameter is unknown, two rows would have the same label, or what the suite calls a
            control is none.
    """
    arithmetic = suite.sampler.dtype or dtype
    if arithmetic != dtype and dtype != "float32":
        raise UserError(
            f"a model in {dtype} cannot sample in {arithmetic}, which suite {suite.name} asks for",
            f"type --dtype {arithmetic}" + (" or --dtype float32" if arithmetic != "float32" else ""),
        )
    fields = protocol_fields(suite, dataset, judge, model_fingerprint, dtype, comparer, captions)
    plan = Plan(suite, digest(fields), fields, judge, comparer, captions)
    for label in CONTROLS:
        plan.methods[label] = (label, 0)
        for group in groups(suite):
            _add_cells(plan, dataset, label, group, None)
    for ref in (*controls_of(suite, plugins, besides=methods), *methods):
        entry = plugins.methods.get(ref.name)
        preset = suite.presets.get(entry.spec.name, {})
        params = check_params(entry.load_params(), {**preset, **ref.params}, ref.name).with_presets(suite.presets)
        label = ref.label
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
                reads=_reads(params, request, absent=absent),
            )
            key = task.key()
            plan.edits[key] = task
            _add_cells(plan, dataset, label, group, key)
    return plan


def _reads(params: Params, request: Request, *, absent: bool) -> dict[str, str]:
    """Return the digests of what a method reads besides; none if it is not here, and need not be."""
    try:
        return dict(params.reads(request))
    except PrerequisiteError:
        if not absent:
            raise
        return {}


def _add_cells(plan: Plan, dataset: ConceptDataset, label: str, group: Sequence[str], edit: str | None) -> None:
    """Add the cells of one row and the concepts that one edit forgets, with their sample and score tasks."""
    suite, erased = plan.suite, [dataset.concepts[name] for name in group]
    overlaps = {name for one in erased for name in one.overlaps}
    neighbours = {name for one in erased for name in one.neighbours}
    captions = _compare_captions(plan, edit)
    for name in suite.evaluate:
        concept = dataset.concepts[name]
        role = "forget" if name in group else "overlap" if name in overlaps else "retain"
        # The ceiling: the unedited model is asked for the target, so only the forgotten concept's images differ.
        swapped = label == PROMPT_SWAP and role == "forget"
        prompts, seeds = _asked(suite, dataset, name, role)
        sample = SampleTask(
            model=plan.protocol_fields["model"],
            edit=edit,
            prompts=tuple(p.target_text if swapped else p.text for p in prompts),
            seeds=seeds,
            sampler=suite.sampler,
            dtype=plan.protocol_fields["dtype"],
        )
        sample_key = sample.key()
        score = ScoreTask(sample=sample_key, **plan.judge.asked(make_question(dataset, concept, suite.task)))
        score_key = score.key()
        plan.samples[sample_key] = sample
        plan.scores[score_key] = score
        compared = _compare(plan, label_of(group, suite), sample_key, score)
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
                captions=captions,
            )
        )


def _asked(suite: Suite, dataset: ConceptDataset, name: str, role: str) -> tuple[tuple[Prompt, ...], tuple[int, ...]]:
    """Return the prompts and sampling seeds of an evaluated concept: fewer, if the suite says so, of what is retained.

    Raises:
        UserError: no prompt is left.
    """
    prompts = dataset.prompts(name)
    if role == "forget":
        return prompts, suite.seeds
    kept = tuple(prompt for prompt in prompts if prompt.kind in suite.retain.prompts)
    if not kept:
        raise UserError(
            f"suite {suite.name} retains {' and '.join(suite.retain.prompts)} prompts only, and {name} has none",
            "mend `retain.prompts` of the suite, or leave the concept out of `evaluate`",
        )
    return kept, suite.seeds if suite.retain.seed is None else (suite.retain.seed,)


def _compare(plan: Plan, forget: str, key: str, score: ScoreTask) -> str | None:
    """Add the comparison of a sample task with the unedited model's images in the same cell; return its key."""
    if plan.comparer is None:
        return None
    asked = (forget, score.question.concept)
    own = (cell.sample for cell in plan.cells if cell.method == UNEDITED and (cell.forget, cell.concept.id) == asked)
    base = next(own, key)  # the first rows are those of the unedited model: it is compared with itself
    task = SetScoreTask(edited=key, reference=base, **plan.comparer.asked(score.question))
    plan.comparisons[task.key()] = task
    return task.key()


def _compare_captions(plan: Plan, edit: str | None) -> str | None:
    """Add the comparison of an edited model's images of the captions with the unedited model's; return its key."""
    if plan.captions is None or plan.comparer is None:
        return None
    edited, base = (
        SampleTask(
            model=plan.protocol_fields["model"],
            edit=key,
            prompts=plan.captions.captions,
            seeds=plan.suite.seeds[:1],
            sampler=plan.suite.sampler,
            dtype=plan.protocol_fields["dtype"],
        )
        for key in (edit, None)
    )
    task = SetScoreTask(edited=edited.key(), reference=base.key(), **plan.comparer.asked(plan.captions.question))
    plan.samples |= {task.edited: edited, task.reference: base}
    plan.comparisons[task.key()] = task
    return task.key()
