"""`unlearnbench edit --method uce` on a folder with the shapes of Stable Diffusion 1.4."""

import json

import pytest
import torch
from safetensors import safe_open

from unlearnbench.cli import main
from unlearnbench.testing import sd14_shaped


@pytest.mark.slow  # writes and hashes 4 GB
def test_the_edit_command_changes_the_32_matrices_of_stable_diffusion_1_4(tmp_path):
    model = sd14_shaped()
    model.save(tmp_path / "sd14")
    with pytest.raises(SystemExit) as end:
        main(
            ["edit", "--method", "uce", "--concept", "van gogh", "--model", str(tmp_path / "sd14"), "--device", "cpu",
             "-o", str(tmp_path / "edited")]
        )  # fmt: skip
    assert not end.value.code
    embedding = model.encode(["van gogh", ""])
    c, cs = embedding.states[torch.arange(2), embedding.last].double()[:, :, None]
    A = 0.5 * torch.eye(768, dtype=torch.float64) + c @ c.T
    before = dict(model.unet.named_parameters())
    with safe_open(tmp_path / "edited" / "edit.safetensors", "pt") as stream:
        names = list(stream.keys())
        for name in names:
            old = before[name.removeprefix("unet.")].double()
            # W_new = (lambda W_old + v* c^T) (lambda I + c c^T)^-1, the d x d form
            oracle = torch.linalg.solve(A, (0.5 * old + (old @ cs) @ c.T).T).T
            assert float((stream.get_tensor(name).double() - oracle).norm() / oracle.norm()) < 1e-6
    assert len(names) == 32
    assert {n.rsplit("attn2.")[1] for n in names} == {"to_k.weight", "to_v.weight"}
    report = json.loads((tmp_path / "edited" / "report.json").read_text())
    assert report["seconds"] < 30
