"""Contexts for a concept of any name, by kind: those for evaluation are far from those that methods see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unlearnbench.api import ConceptKind

DESCRIPTION: Mapping[ConceptKind, str] = {
    "object": "{}",
    "style": "a picture in the style of {}",
    "scene": "{}",
    "action": "someone {}",
}

EVALUATION: Mapping[ConceptKind, tuple[str, ...]] = {
    "object": (
        "{} at the window of a moving train",
        "somebody left {} in the middle of an empty car park",
        "a magazine cover with {}, studio lighting",
        "{} on the shoulders of a giant statue, pen and wash",
        "my neighbour's garden after the storm, with {} in it",
    ),
    "style": (
        "a tram depot in the style of {}",
        "in the style of {}: a woman repairing a bicycle",
        "an otter family, in the style of {}",
        "the kitchen of a small restaurant, rendered in the style of {}",
        "a chess game between two old friends in the style of {}",
    ),
    "scene": (
        "{} as seen from the balcony of a grand hotel",
        "a wide shot of {}, first frame of a film",
        "{} on the lid of a biscuit tin",
        "a stranger with a suitcase in the middle of {}",
        "the last page of a travel diary shows {}",
    ),
    "action": (
        "a postman {} between two parked vans",
        "grandmother {} in the hall of mirrors",
        "an athlete {} on a sports poster from the fifties",
        "someone {} on the far side of the river, telephoto lens",
        "two scientists {} in front of a blackboard",
    ),
}

EDIT: Mapping[ConceptKind, tuple[str, ...]] = {
    "object": (
        "{}",
        "a photo of {}",
        "{} on a wooden table",
        "{} in the snow at dawn",
        "a close-up of {} with a blurred background",
        "an oil painting of {}",
        "a child's drawing of {}",
        "{} beside a campfire",
        "{} in a museum display case",
        "a black and white picture of {}",
        "{} under a street lamp at night",
        "{} on a sandy beach",
        "a postage stamp with {}",
        "{} in front of a brick wall",
        "a tiny model of {} in the palm of a hand",
    ),
    "style": (
        "in the style of {}",
        "a lighthouse in the style of {}",
        "a portrait of a farmer in the style of {}",
        "a bowl of fruit in the style of {}",
        "a city street after rain in the style of {}",
        "a cat on a sofa in the style of {}",
        "a mountain lake in the style of {}",
        "a sailing ship in the style of {}",
        "a vase of flowers in the style of {}",
        "a girl with an umbrella in the style of {}",
        "a village in winter in the style of {}",
        "a horse in a field in the style of {}",
        "a bridge over a canal in the style of {}",
        "a market stall in the style of {}",
        "a self-portrait in the style of {}",
    ),
    "scene": (
        "{}",
        "a photo of {}",
        "{} in the early morning",
        "a painting of {}",
        "{} from above",
        "{} with a dog in the foreground",
        "a postcard of {}",
        "{} in black and white",
        "a stage set of {}",
        "a pencil study of {}",
        "{} long ago",
        "{} behind a garden gate",
        "a child looking at {}",
        "a snow globe with {} inside",
        "a mural of {}",
    ),
    "action": (
        "someone {}",
        "a man {}",
        "a woman {} in the park",
        "a photo of a boy {}",
        "an old couple {} at home",
        "a robot {}",
        "a girl {} on a rooftop",
        "people {} in the street",
        "a cartoon bear {}",
        "a clown {} in a circus tent",
        "a bronze statue of a man {}",
        "a teacher {} in the classroom",
        "a woman in red {} at night",
        "a farmer {} beside a tractor",
        "a sketch of somebody {}",
    ),
}
