from unlearnbench.api import Concept, ConceptDataset

NAMES = ("alpha", "beta", "gamma", "delta")


def concept(number, name):
    other = NAMES[number % len(NAMES)]
    return Concept(
        id=name,
        kind="object",
        display=name,
        aliases=(f"{name} letter",),
        description=f"the letter {name}",
        target={"id": "omega", "display": "omega"},
        neighbours=(other,),
        prompts={
            "direct": [f"a drawing of {name}", f"{name} on paper"],
            "indirect": [f"letter number {number}"],
            "target_direct": ["a drawing of omega", "omega on paper"],
            "target_indirect": ["the last letter"],
        },
        edit=[
            {"prompt": f"a big {name}", "target": "a big omega"},
            {"prompt": f"a red {name}", "target": "a red omega"},
        ],
    )


class Letters(ConceptDataset):
    @property
    def concepts(self):
        return {name: concept(number, name) for number, name in enumerate(NAMES, 1)}

    def classes(self, kind):
        return {name: name for name in NAMES}
