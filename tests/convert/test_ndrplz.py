"""ndrplz's ConvLSTM_pytorch."""

from __future__ import annotations

import convlstm
from convlstm.convert import ConversionError, convert, read_state_dict
from convlstm.convert.__main__ import main
from tests.support.reference import close, normal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.support.torch_openstl import arrays_of, randomised  # noqa: E402

from torch import nn  # noqa: E402


class NdrplzCell(nn.Module):
    def __init__(self, C, O, k):
        super().__init__()
        self.O, self.conv = O, nn.Conv2d(C + O, 4 * O, k, padding=k // 2)

    def forward(self, x, h, c):
        i, f, o, g = self.conv(torch.cat([x, h], 1)).split(self.O, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class Ndrplz(nn.Module):
    def __init__(self, C, hidden, k):
        super().__init__()
        self.cell_list = nn.ModuleList([NdrplzCell(hidden[n - 1] if n else C, O, k) for n, O in enumerate(hidden)])

    def forward(self, x):
        for cell in self.cell_list:
            h = c = x.new_zeros(x.shape[0], cell.O, *x.shape[3:])
            outputs = []
            for t in range(x.shape[1]):
                h, c = cell(x[:, t], h, c)
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return x


def test_ndrplz_layers_there_and_back(tmp_path, capsys, rng):
    network = randomised(Ndrplz(2, (3, 5), 3))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run")]) == 0
    assert "ConvLSTMSequence" in (told := capsys.readouterr().out)
    assert "Use these layers in a model of your own" in told
    x = normal(rng, (2, 4, 6, 5, 2))
    with torch.no_grad():
        expected = network(torch.tensor(np.array(x.transpose(0, 1, 4, 2, 3))))
    outputs, states = convlstm.load(tmp_path / "run")(x)
    close(outputs.transpose(0, 1, 4, 2, 3), expected.numpy(), 1e-4)
    assert len(states) == 2
    assert main([str(tmp_path / "run"), str(tmp_path / "b.safetensors")]) == 0
    back, arrays = read_state_dict(tmp_path / "b.safetensors"), arrays_of(network)
    assert set(back) == set(arrays)
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    with pytest.raises(ConversionError, match=r"does not hold four gates"):
        convert({"cell_list.0.conv.weight": np.zeros((3, 2, 3, 3))})


def test_layers_within_a_larger_model(tmp_path, capsys):
    network = randomised(Ndrplz(2, (3,), 3))
    arrays = {f"net.encoder.{name}": array for name, array in network.state_dict().items()}
    torch.save(arrays | {"net.head.weight": torch.zeros(2)}, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run")]) == 1
    assert "A part of them does: net.encoder. (--prefix)." in capsys.readouterr().err
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "run"), "--prefix", "net.encoder."]) == 0
    assert "ConvLSTMSequence" in capsys.readouterr().out
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "other"), "--prefix", "encoder."]) == 1
    assert "no name begins with 'encoder.' (--prefix). They begin with net.." in capsys.readouterr().err
