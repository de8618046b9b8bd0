"""A row of a board whose edits were made elsewhere: a method that only puts weights in place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.api import MethodSpec, Params
from unlearnbench.discovery import NAME, PluginRecord
from unlearnbench.errors import UserError
from unlearnbench.identity import digest_files
from unlearnbench.plugins import Entry, Registry
from unlearnbench.spec import Origin
from unlearnbench.suites import find_concept
from unlearnbench.weights.source import Source, find_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unlearnbench.api import ConceptDataset, Request
    from unlearnbench.plugins import Plugins
    from unlearnbench.spec import Suite

LABEL = "weights"


def parse_weights(given: Sequence[str], suite: Suite, dataset: ConceptDataset) -> dict[str, Path]:
    """Return the path of the weights of each concept that a suite forgets.

    Args:
        given: 'PATH', if one concept is forgotten or all in one edit, or 'CONCEPT=PATH' for each.
        suite: the suite, narrowed to what is forgotten.
        dataset: its data set.

    Raises:
        UserError: a concept is unknown, not forgotten, named twice, or has no weights.
    """
    if suite.several != "apart" and len(suite.forget) > 1:
        if suite.several == "sequence" or len(given) > 1:
            raise UserError(
                "weights from elsewhere are one edit, which forgets one concept or all together",
                "name one path with --weights, with --together if it forgets several",
            )
        return dict.fromkeys(suite.forget, Path(given[0]).expanduser())
    found: dict[str, Path] = {}
    for option in given:
        name, equals, path = option.partition("=")
        if Path(option).exists() or not equals:
            if len(suite.forget) > 1:
                raise UserError(
                    f"--weights {option}: the suite forgets {len(suite.forget)} concepts",
                    f"say which it forgot: --weights CONCEPT={option}, and --concept CONCEPT",
                )
            name, path = suite.forget[0], option
        concept = find_concept(dataset, name).id
        if concept not in suite.forget:
            raise UserError(f"--weights {option}: {concept} is not forgotten", f"type --concept {concept}")
        if concept in found:
            raise UserError(f"--weights names {concept} twice", "name one file for each concept")
        found[concept] = Path(path).expanduser()
    if lacking := [name for name in suite.forget if name not in found]:
        raise UserError(
            f"there are no --weights for {', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}",
            "name a file for each forgotten concept, or forget fewer with --concept",
        )
    return found


@dataclass(frozen=True)
class WeightsRow:
    """Weights that were made elsewhere, one source for each forgotten concept, under one label."""

    label: str
    sources: Mapping[str, Source]
    control: bool = False

    @classmethod
    def find(cls, label: str, paths: Mapping[str, Path], model: Path, *, control: bool = False) -> WeightsRow:
        """Match the weights of each concept with a model.

        Raises:
            UserError: as `find_source`.
        """
        return cls(label, {concept: find_source(path, model) for concept, path in paths.items()}, control)

    def join(self, plugins: Plugins) -> Plugins:
        """Return the plugins, with this row among the methods.

        Raises:
            UserError: the label is none, or a method's name.
        """
        if not NAME.fullmatch(self.label):
            raise UserError(
                f"--label {self.label}: lower-case letters, digits, '.', '_' and '-' make a label",
                "type for example --label uce-upstream",
            )
        if any(entry.spec.name == self.label for entry in plugins.methods):
            raise UserError(f"there is a method '{self.label}'", "give the row another name with --label")
        methods: Registry[MethodSpec] = Registry(plugins.methods.kind)
        for entry in plugins.methods:
            methods.add(entry)
        methods.add(_entry(self))
        return replace(plugins, methods=methods)


@dataclass(frozen=True)
class _WeightsEntry(Entry[MethodSpec]):
    """What a plan and an executor ask of a method's entry."""

    sources: Mapping[str, Source] = field(default_factory=dict)

    def load(self) -> Any:
        """Return what makes the method from its parameters."""
        from unlearnbench.weights.method import Weights

        return partial(Weights, sources=self.sources)

    def load_params(self) -> Any:
        """Return a class without parameters, whose `reads` tells the weights of a request."""
        sources = self.sources

        class WeightsParams(Params):
            def reads(self, request: Request) -> Mapping[str, str]:
                return {"weights": sources[request.forget[0].id].digest}

        return WeightsParams

    def origin(self) -> Origin:
        """Return the digest of this package: what it puts in place is in `reads`."""
        files = [(path.name, path) for path in Path(__file__).parent.glob("*.py")]
        return Origin(distribution="unlearnbench", version=version("unlearnbench"), source=digest_files(files))


def _entry(row: WeightsRow) -> Entry[MethodSpec]:
    spec = MethodSpec(
        name=row.label, target="unlearnbench.weights.method:Weights", params="", summary="weights made elsewhere",
        paper="", control=row.control,
    )  # fmt: skip
    record = PluginRecord("weights", "unlearnbench", version("unlearnbench"), __name__, __file__, "ok")
    return _WeightsEntry(spec, record, row.sources)
