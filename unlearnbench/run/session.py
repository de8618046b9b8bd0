"""What a command names, resolved: suite, data set, judge and model. Everything is checked before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearnbench.captions import CaptionSet, read_captions
from unlearnbench.concepts import WithConcept, read_concept
from unlearnbench.discovery import one_line
from unlearnbench.errors import PrerequisiteError, UserError
from unlearnbench.lint import estimated, lint_added, tokens_of
from unlearnbench.modelfiles import fingerprint_folder, local_folder, resolve_folder
from unlearnbench.run.machine import Machine
from unlearnbench.run.plan import Judge, Plan, check_params, make_plan
from unlearnbench.spec import Dtype, ModelSpec, Ref, Several, Suite
from unlearnbench.suites import load_suite, narrow
from unlearnbench.weights import LABEL, WeightsRow, parse_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from unlearnbench.api import Concept, ConceptDataset
    from unlearnbench.plugins import Plugins

Parameters = dict[str, dict[str, Any]]
ABSENT = "absent"  # in place of the fingerprint of a model or a judge that is not on this machine


@dataclass(frozen=True)
class Session:
    """A suite, narrowed to what was asked, with its data set, judge and model folder.

    Attributes:
        place: folder of the model; None if it is not on this machine, and need not be.
        notes: what a user may want to know: what a concept file lacks, what is not on this machine.
        complete: whether model and judge are on this machine; a plan without them has keys of its own.
        absent: whether what methods read besides need not be on this machine either.
        comparer: the set evaluator; None = the suite has none.
        captions: what it compares besides, without those that name a forgotten concept; None = nothing.
    """

    plugins: Plugins
    suite: Suite
    dataset: ConceptDataset
    judge: Judge
    place: Path | None
    params: Parameters
    notes: tuple[str, ...] = ()
    complete: bool = True
    comparer: Judge | None = None
    captions: CaptionSet | None = None
    absent: bool = False

    @classmethod
    def open(
        cls,
        plugins: Plugins,
        suite: str,
        *,
        concepts: Sequence[str] = (),
        several: Several | None = None,
        concept_file: Path | None = None,
        sampling_seeds: Sequence[int] = (),
        model: str | None = None,
        revision: str | None = None,
        evaluator: str | None = None,
        set_evaluator: str | None = None,
        captions: Path | None = None,
        params: Callable[[Sequence[str]], Parameters] = lambda _: {},
        absent: bool = False,
    ) -> Session:
        """Resolve every name of a command.

        Args:
            plugins: what is installed.
            suite: name or TOML file.
            concepts: concepts to forget; none = those of the suite.
            several: how several concepts are forgotten; None = as the suite says.
            concept_file: a concept that joins the data set, and is forgotten.
            sampling_seeds: none = those of the suite.
            model: name, folder or hub id; None = the suite's.
            revision: git revision of a hub id.
            evaluator: None = the suite's.
            set_evaluator: None = the suite's, which may be none.
            captions: file of captions that the set evaluator compares besides; None = there is none.
            params: given the names of evaluator and set evaluator, the parameters of each plugin.
            absent: model and judge need not be on this machine: enough for an estimate.

        Raises:
            UserError: a name is unknown, or a parameter is wrong.
            PrerequisiteError: the model is not on this machine and cannot be fetched.
        """
        loaded = load_suite(plugins, suite)
        dataset: ConceptDataset = plugins.datasets.get(loaded.dataset).load()()
        own = None if concept_file is None else read_concept(concept_file)
        if own is not None:
            dataset, concepts = WithConcept(dataset, own), (own.id, *concepts)
        loaded = narrow(loaded, dataset, concepts, sampling_seeds, several)
        if model is not None or revision is not None:
            loaded = loaded.model_copy(update={"model": ModelSpec(id=model or loaded.model.id, revision=revision)})
        if evaluator is not None and evaluator != loaded.evaluator.name:
            loaded = loaded.model_copy(update={"evaluator": Ref(name=evaluator)})
        if set_evaluator is not None and (loaded.set_evaluator is None or set_evaluator != loaded.set_evaluator.name):
            loaded = loaded.model_copy(update={"set_evaluator": Ref(name=set_evaluator)})
        name, compare = loaded.evaluator.name, loaded.set_evaluator
        read = None if captions is None else read_captions(captions)
        if read is not None and compare is None:
            raise UserError(
                f"captions are for a set evaluator, and the suite {loaded.name} has none",
                "name one: --set-evaluator NAME",
            )
        kept = read and read.without([dataset.concepts[name] for name in loaded.forget])
        given = params([name] if compare is None else [name, compare.name])
        values = {**loaded.evaluator.params, **given.get(name, {})}
        source = resolve_folder(loaded.model, plugins.shipped_models())
        missing: list[str] = []
        folder: Path | None = None
        try:
            folder = local_folder(source, loaded.model.revision)
        except PrerequisiteError:
            if not absent:
                raise
            missing.append(f"the model {loaded.model.id} is not on this machine")
        try:
            # Without the model nothing can be stored, so that what judge it was matters to no estimate.
            judge = find_judge(plugins, name, values, known=folder is not None)
        except PrerequisiteError as error:
            if not absent:
                raise
            missing.append(error.what)
            judge = find_judge(plugins, name, values, known=False)
        comparer = None
        if compare is not None:
            chosen = {**compare.params, **given.get(compare.name, {})}
            try:
                comparer = find_judge(plugins, compare.name, chosen, known=folder is not None, sets=True)
            except PrerequisiteError as error:
                if not absent:
                    raise
                missing.append(error.what)
                comparer = find_judge(plugins, compare.name, chosen, known=False, sets=True)
        notes = () if own is None else _lint(own, dataset, folder, str(concept_file))
        if read and kept and (fewer := len(read.captions) - len(kept.captions)):
            notes += (f"{fewer} of {len(read.captions)} captions name a forgotten concept, and are left out",)
        return cls(
            plugins, loaded, dataset, judge, folder, given, (*notes, *missing), complete=not missing, comparer=comparer,
            captions=kept, absent=absent,
        )  # fmt: skip

    @property
    def folder(self) -> Path:
        """Return the folder of the model.

        Raises:
            PrerequisiteError: the model is not on this machine.
        """
        if self.place is None:
            raise PrerequisiteError(
                f"model {self.suite.model.id} is not on this machine", "name a folder that holds it with --model"
            )
        return self.place

    def plan(
        self, methods: Sequence[str], *, seed: int, dtype: Dtype, weights: Sequence[str] = (), label: str = LABEL,
        control: bool = False,
    ) -> Plan:  # fmt: skip
        """Plan the controls, the given methods, and weights that were made elsewhere.

        Args:
            methods: by name.
            seed: of the methods' own randomness.
            dtype: what the weights are kept and edited in.
            weights: 'PATH' or 'CONCEPT=PATH' for each forgotten concept; none = there are none.
            label: of the row of the weights.
            control: whether that row is a control.

        Raises:
            UserError: a method or one of its parameters is unknown, or weights do not fit the model.
            PrerequisiteError: weights are not there.
        """
        plugins, refs = self.plugins, [Ref(name=name, params=self.params.get(name, {})) for name in methods]
        if weights:
            row = WeightsRow.find(label, parse_weights(weights, self.suite, self.dataset), self.folder, control=control)
            plugins, refs = row.join(plugins), [*refs, Ref(name=label)]
        return make_plan(
            self.suite,
            self.dataset,
            self.judge,
            plugins,
            refs,
            model_fingerprint=ABSENT if self.place is None else fingerprint_folder(self.place),
            method_seed=seed,
            dtype=dtype,
            comparer=self.comparer,
            captions=self.captions,
            absent=self.absent,
        )

    def machine(self, *, device: str, dtype: Dtype, batch_size: int) -> Machine:
        """Return what the tasks run on."""
        return Machine(self.suite.model, self.folder, device, dtype, batch_size)


def _lint(concept: Concept, dataset: ConceptDataset, folder: Path | None, file: str) -> tuple[str, ...]:
    """Refuse a concept whose numbers would be wrong; return what leaves them poorer."""
    others = {name: other for name, other in dataset.concepts.items() if name != concept.id}
    tokens = tokens_of(folder) if folder is not None and (folder / "tokenizer").is_dir() else estimated()
    found = lint_added(others, concept, tokens)
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UserError(f"{file}: {errors[0]}{more}", f"mend it; `unlearnbench lint {file}` shows what it finds in it")
    return tuple(str(finding) for finding in found)


def find_judge(plugins: Plugins, name: str, given: dict[str, Any], *, known: bool = True, sets: bool = False) -> Judge:
    """Return the judge, or with `sets` the set evaluator; one that is not `known` gets no fingerprint of its own.

    Raises:
        UserError: there is no such judge, or a parameter is wrong.
        PrerequisiteError: it does not tell its fingerprint, as where its weights are not on this machine.
    """
    entry = (plugins.set_evaluators if sets else plugins.evaluators).get(name)
    params = check_params(entry.load_params(), given, name)
    if not known:
        return Judge(entry.spec.name, entry.origin(), params, ABSENT, entry)
    try:
        fingerprint = entry.load()(params).fingerprint()
    except UserError:
        raise
    except Exception as error:  # a plugin may raise anything
        plugin = entry.plugin
        what = "set evaluator" if sets else "judge"
        raise PrerequisiteError(
            f"the {what} '{name}' of {plugin.distribution} {plugin.version} does not tell its fingerprint: "
            + one_line(f"{type(error).__name__}: {error}"),
            f"choose another one with --{'set-' if sets else ''}evaluator, or type `unlearnbench check {name}` "
            "(-v: its traceback)",
        ) from error
    return Judge(entry.spec.name, entry.origin(), params, fingerprint, entry)
