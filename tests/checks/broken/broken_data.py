"""Data sets that each break one rule, and keep all others."""

import os

from unlearnbench.testing.fakes import Letters


def changed(**updates):
    """Return a data set in which fields of `alpha` have other values; 'prompts.direct' names an inner one."""

    class Changed(Letters):
        @property
        def concepts(self):
            found = dict(super().concepts)
            values = found["alpha"].model_dump()
            for path, value in updates.items():
                *outer, last = path.split("__")
                inner = values
                for part in outer:
                    inner = inner[part]
                inner[last] = value
            return {**found, "alpha": type(found["alpha"]).model_validate(values)}

    return Changed


class Misfiled(Letters):
    @property
    def concepts(self):
        found = dict(super().concepts)
        return {"alfa": found.pop("alpha"), **found}


class Shuffled(Letters):
    loads = 0

    def __init__(self):
        type(self).loads += 1

    @property
    def concepts(self):
        return dict(sorted(super().concepts.items(), reverse=self.loads % 2 == 1))


class Moody(Letters):
    @property
    def concepts(self):
        found = dict(super().concepts)
        return {**found, "alpha": found["alpha"].model_copy(update={"description": os.urandom(4).hex()})}


class Unclassed(Letters):
    def classes(self, kind):
        return {"beta": "beta"}


class SameWords(Letters):
    def classes(self, kind):
        return {**super().classes(kind), "alpha": "beta"}


Shared = changed(aliases=["Delta"])
Bare = changed(edit=())
Uneven = changed(prompts__direct=["alpha on a wall"], prompts__target_direct=["omega on a wall"])
Unpaired = changed(prompts__target_direct=["omega on a wall"])
Narcissist = changed(target={"id": "alpha", "display": "omega"})
Dangling = changed(overlaps=["zeta"])
RetainedTarget = changed(target={"id": "beta", "display": "omega"})
Twice = changed(prompts__indirect=["letter number 2"])
EditTwice = changed(edit=[{"prompt": "a big alpha", "target": "a big omega"}] * 2)
Leaking = changed(edit=[{"prompt": "Alpha, on paper", "target": "omega, on paper"}])
Telling = changed(prompts__indirect=["the alpha of the alphabet"])
Nameless = changed(prompts__direct=["a drawing of a letter", "alpha on paper"])
Unmapped = changed(prompts__target_indirect=["the alpha letter again"])
Circular = changed(edit=[{"prompt": "a big letter", "target": "a big letter"}])


def nothing():
    """Return no data set."""
    return {"alpha": 1}
