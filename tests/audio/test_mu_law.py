import pytest
import torch
import torchaudio

from wavenet.audio import mu_law_decode, mu_law_encode

SAMPLES = [-1, 1, 0.6, -0.25, 0.01, 0.33, -0.9999, 0.42, 0.1, -0.45]
CLASSES = [0, 255, 243, 32, 157, 230, 0, 235, 203, 18]


def test_known_classes():
    assert mu_law_encode(torch.tensor(SAMPLES)).tolist() == CLASSES
    assert mu_law_encode(torch.tensor(SAMPLES, dtype=torch.float64)).tolist() == CLASSES


@pytest.mark.parametrize("num_classes", [2, 3, 16, 255, 256, 1000, 1024, 65536])
def test_encode_inverts_decode(num_classes):
    classes = torch.arange(num_classes)
    samples = mu_law_decode(classes, num_classes)
    assert (samples.min().item(), samples.max().item()) == (-1, 1)
    assert (samples.diff() > 0).all()
    assert torch.equal(mu_law_encode(samples, num_classes), classes)


def test_equals_torchaudio():
    x = torch.linspace(-1, 1, 10001)
    classes = mu_law_encode(x)
    assert torch.equal(classes, torchaudio.functional.mu_law_encoding(x, 256))
    expected = torchaudio.functional.mu_law_decoding(classes, 256)
    torch.testing.assert_close(mu_law_decode(classes), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [1.0001, -2.0, float("nan"), float("inf"), -float("inf")])
def test_samples_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"samples must lie in \[-1, 1\]"):
        mu_law_encode(torch.tensor([0.0, bad]))


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes is 1; it must be 2 or more"):
        mu_law_encode(torch.zeros(3), 1)
