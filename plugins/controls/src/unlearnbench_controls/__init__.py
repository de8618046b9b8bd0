"""Controls: rows of a board that a method must be told apart from, as methods of unlearnbench."""

from unlearnbench.api import MethodSpec, hookimpl

_ANY = ("unet.*", "text_encoder.*")


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    """Register the controls."""
    return [
        MethodSpec(
            name="random-edit",
            target="unlearnbench_controls.random_edit:RandomEdit",
            params="unlearnbench_controls.params:LikeParams",
            summary="another method's edit in random directions, every tensor's change as large as that method's",
            paper="",
            edits=_ANY,
            control=True,
        ),
        MethodSpec(
            name="non-word",
            target="unlearnbench_controls.non_word:NonWord",
            params="unlearnbench_controls.params:NonWordParams",
            summary="another method, asked to forget a word that means nothing in the concept's place",
            paper="",
            edits=_ANY,
            control=True,
        ),
        MethodSpec(
            name="destroy",
            target="unlearnbench_controls.destroy:Destroy",
            params="unlearnbench_controls.params:NoParams",
            summary="keys and values of the cross-attention set to zero, so that no text reaches the image",
            paper="",
            edits=("unet.*.attn2.to_k.*", "unet.*.attn2.to_v.*"),
            control=True,
        ),
        MethodSpec(
            name="keyword-filter",
            target="unlearnbench_controls.inference:KeywordFilter",
            params="unlearnbench_controls.params:NamesParams",
            summary="no weight changes; the concept's name in a prompt is replaced by the target's words",
            paper="",
            control=True,
        ),
        MethodSpec(
            name="negative-prompt",
            target="unlearnbench_controls.inference:NegativePrompt",
            params="unlearnbench_controls.params:NamesParams",
            summary="no weight changes; the concept's name is the negative prompt of every image",
            paper="",
            control=True,
        ),
    ]
