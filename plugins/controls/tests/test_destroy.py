"""After `destroy` no text reaches an image."""

import torch

from unlearnbench.testing import edit_context, try_edit
from unlearnbench_controls.destroy import Destroy
from unlearnbench_controls.params import NoParams


def test_keys_and_values_are_zero_and_nothing_else_changes(model, request_):
    changed, _ = try_edit(Destroy(NoParams()), model, request_)
    assert set(changed) == {
        f"unet.{name}.{part}.weight" for name in model.cross_attention() for part in ("to_k", "to_v")
    }
    assert not any(value.any() for value in changed.values())


def test_the_prediction_no_longer_depends_on_the_prompt(model, request_):
    def predictions():
        states = model.encode(["a cat", "a red tree in the rain"]).states
        size = model.info.latent_size
        noise = torch.randn(1, model.unet.config.in_channels, size, size, generator=torch.Generator().manual_seed(0))
        latents = noise.expand(2, -1, -1, -1)
        return model.unet(latents, 500, encoder_hidden_states=states, return_dict=False)[0]

    with torch.no_grad(), model.edited():
        before = predictions()
        assert not torch.allclose(before[0], before[1], atol=1e-5)
        Destroy(NoParams()).edit(model, request_, edit_context())
        after = predictions()
    torch.testing.assert_close(after[0], after[1])
