"""Properties of every backend: it equals the parallel forward pass, and audio depends on the seed alone."""

import functools
import sys

import pytest
import torch

import wavenet
from wavenet.distributions import GaussianMixture, LogisticMixture, Mixture, MuLawCategorical
from wavenet.generation.sampler import choose_backend
from wavenet.generation.uniforms import uniforms

# The reference is exact for any batch in float64, the cpu backend computes in float32 and is exact there.
BACKENDS = [("reference", torch.float64), ("cpu", torch.float32)]
DISTRIBUTIONS = {
    "categorical": lambda: MuLawCategorical(16, 5),
    "logistics": lambda: LogisticMixture(3, encoding_channels=5),
    "gaussian": lambda: GaussianMixture(1, encoding_channels=5),
    "gaussians": lambda: GaussianMixture(3, encoding_channels=5),
}


@pytest.fixture
def small(request, small):
    """Return a builder of small models with the distribution of a test's parameter."""
    return functools.partial(small, distribution=DISTRIBUTIONS[getattr(request, "param", "categorical")])


def each(distributions):
    cases = [(name, *backend) for backend in BACKENDS for name in distributions]
    ids = [f"{backend}-{name}" for name, backend, _ in cases]
    return pytest.mark.parametrize(("small", "backend", "dtype"), cases, ids=ids, indirect=["small"])


each_backend = each(DISTRIBUTIONS)
each_distribution = pytest.mark.parametrize("small", DISTRIBUTIONS, indirect=True)


def assert_drawn(model, audio, again):
    """Check that samples are equal; in float32, a mixture's may be rounded to the next of the 65536 levels."""
    if isinstance(model.distribution, Mixture) and model.input.conv.weight.dtype == torch.float32:
        difference = (again - audio).abs()
        assert difference.max() <= model.distribution.bin_width
        assert (difference > 0).float().mean() < 0.1
    else:
        assert torch.equal(again.float(), audio)


@each_distribution
def test_step_by_step_parameters_equal_whole_sequence_ones(small):
    """With given inputs, the generation loop computes the same parameters as training."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        model = small(("ann", "bob"), dtype, kernel_size=3)
        x = (torch.rand(2, 60) * 2 - 1).to(dtype)
        condition = model.condition({"speaker": ["ann", "bob"]}, 2)
        whole, _ = model(x, condition)
        state, steps = None, []
        for t in range(60):
            parameters, state = model(x[:, t : t + 1], condition, state)
            steps.append(parameters)
        torch.testing.assert_close(torch.cat(steps, dim=-1), whole, rtol=tolerance, atol=tolerance)


@each_backend
def test_generated_audio_is_what_the_whole_sequence_model_would_draw(small, backend, dtype):
    """The parallel forward pass over the audio, with the same random numbers, gives the same audio."""
    model = small(dtype=dtype)
    audio = wavenet.generate(model, 0.1, num=2, seed=3, backend=backend)
    inputs = torch.cat([torch.zeros(2, 1), audio[:, :-1]], dim=1)
    parameters, _ = model(inputs)
    again = model.distribution.sample(parameters, uniforms([3, 4], 0, 200, model.distribution.num_uniforms))
    assert_drawn(model, audio, again)


@each_backend
def test_shape_range_and_seed(small, backend, dtype):
    model = small(dtype=dtype)
    audio = wavenet.generate(model, 0.05, num=3, seed=1, backend=backend)
    assert audio.shape == (3, 100)
    assert audio.dtype == torch.float32
    assert audio.abs().max() <= 1
    assert audio.unique().numel() > 10
    assert torch.equal(audio, wavenet.generate(model, 0.05, num=3, seed=1, backend=backend))
    assert not torch.equal(audio, wavenet.generate(model, 0.05, num=3, seed=2, backend=backend))
    assert not torch.equal(audio[0], audio[1])


@each_backend
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunk_length_changes_nothing(small, backend, dtype, chunk):
    model = small(("ann",), dtype)
    whole = wavenet.generate(model, 0.1, speaker="ann", num=2, backend=backend)
    assert torch.equal(whole, wavenet.generate(model, 0.1, speaker="ann", num=2, backend=backend, chunk=chunk))


@pytest.mark.slow
@each_backend
def test_an_utterance_of_a_batch_equals_itself_alone(small, backend, dtype):
    model = small(("ann", "bob"), dtype)
    speakers = ["ann", "bob", "ann", "bob"]
    batch = wavenet.generate(model, 0.2, num=4, seed=5, speaker=speakers, backend=backend)
    listed = wavenet.generate(model, 0.2, num=4, seed=[5, 6, 7, 8], speaker=speakers, backend=backend)
    assert torch.equal(listed, batch)
    for k, speaker in enumerate(speakers):
        alone = wavenet.generate(model, 0.2, seed=5 + k, speaker=speaker, backend=backend)
        assert torch.equal(batch[k : k + 1], alone)


@each_backend
def test_utterances_of_different_lengths(small, backend, dtype):
    model = small(("ann", "bob"), dtype)
    speakers, seconds = ["ann", "bob", "ann"], [0.03, 0.1, 0.05]
    options = {"num": 3, "seed": 2, "speaker": speakers, "backend": backend}
    whole = wavenet.generate(model, 0.1, **options)
    ragged = wavenet.generate(model, seconds, chunk=17, **options)
    assert ragged.shape == (3, 200)
    for k, length in enumerate((60, 200, 100)):
        assert torch.equal(ragged[k, :length], whole[k, :length])
        assert not ragged[k, length:].any()


@each_backend
def test_a_finished_utterance_is_not_computed(small, backend, dtype, monkeypatch):
    model = small(dtype=dtype)
    stream = wavenet.stream(model, [0.01, 0.02, 0.04], num=3, backend=backend)
    batches = []
    run = type(stream._backend).run
    monkeypatch.setattr(type(stream._backend), "run", lambda *args: batches.append(args[3].shape) or run(*args))
    list(stream)
    numbers = model.distribution.num_uniforms
    assert batches == [(3, numbers, 20), (2, numbers, 20), (1, numbers, 40)]


@each_backend
def test_a_stream_can_be_saved_and_continued(small, backend, dtype):
    model = small(dtype=dtype)
    whole = wavenet.generate(model, 0.1, num=2, seed=4, backend=backend)
    stream = wavenet.stream(model, num=2, seed=4, chunk=60, backend=backend)
    first = next(stream)
    kept = stream.state
    second = stream.read(40)
    assert torch.equal(torch.cat([first, second], dim=1), whole[:, :100])
    resumed = wavenet.stream(model, seconds=0.05, num=2, seed=4, state=kept, backend=backend)
    assert torch.equal(torch.cat(list(resumed), dim=1), whole[:, 60:160])


@each_distribution
def test_a_stream_can_be_continued_by_another_backend(small):
    model = small()
    whole = wavenet.generate(model, 0.1, num=2, seed=4, backend="reference")
    for one, other in (("cpu", "reference"), ("reference", "cpu")):
        stream = wavenet.stream(model, num=2, seed=4, backend=one)
        first = stream.read(70)
        second = wavenet.stream(model, num=2, seed=4, state=stream.state, backend=other).read(130)
        audio = torch.cat([first, second], dim=1)
        parameters, _ = model(torch.cat([torch.zeros(2, 1), audio[:, :-1]], dim=1))
        again = model.distribution.sample(parameters, uniforms([4, 5], 0, 200, model.distribution.num_uniforms))
        assert_drawn(model, audio, again)
        assert torch.equal(audio, whole) or isinstance(model.distribution, Mixture)


@each_backend
def test_a_ragged_stream_can_be_continued(small, backend, dtype):
    """Each utterance continues from its own end."""
    model = small(dtype=dtype)
    whole = wavenet.generate(model, 0.1, num=2, seed=4, backend=backend)
    stream = wavenet.stream(model, [0.02, 0.05], num=2, seed=4, backend=backend)
    list(stream)
    resumed = wavenet.generate(model, 0.05, num=2, seed=4, state=stream.state, backend=backend)
    assert torch.equal(resumed[0], whole[0, 40:140])
    assert torch.equal(resumed[1], whole[1, 100:200])


@each_backend
def test_a_prompt_is_continued(small, backend, dtype):
    """After a parallel prefill, the state is the same as after generating the prompt."""
    model = small(("ann",), dtype)
    whole = wavenet.generate(model, 0.1, speaker="ann", seed=9, backend=backend)
    prompt = whole[0, :80]
    continued = wavenet.generate(model, 0.05, speaker="ann", prompt=prompt, backend=backend)
    silent = wavenet.generate(model, 0.05, speaker="ann", backend=backend)
    assert not torch.equal(continued, silent)
    inputs = torch.cat([torch.zeros(1, 1), prompt[None], continued[:, :-1]], dim=1)
    parameters, _ = model(inputs, model.condition({"speaker": "ann"}, 1))
    drawn = model.distribution.sample(parameters[..., 80:], uniforms([0], 0, 100, model.distribution.num_uniforms))
    assert_drawn(model, continued, drawn)


@each_backend
def test_prompts_of_a_batch(small, backend, dtype):
    model = small(dtype=dtype)
    prompts = torch.rand(2, 50) - 0.5
    both = wavenet.generate(model, 0.05, num=2, prompt=prompts, backend=backend)
    assert torch.equal(both[1:], wavenet.generate(model, 0.05, seed=1, prompt=prompts[1], backend=backend))


@each_backend
def test_a_condition_that_changes_with_time(small, backend, dtype, contour):
    """It covers the prompt and then the generated samples, in any chunks; and it must be long enough."""
    model = small(dtype=dtype, conditioner=contour)
    contours = torch.randn(2, 1, 180, dtype=dtype)
    prompt = torch.rand(2, 80) - 0.5
    options = {"num": 2, "prompt": prompt, "conditions": {"contour": contours}, "backend": backend}
    audio = wavenet.generate(model, 0.05, **options)
    inputs = torch.cat([torch.zeros(2, 1), prompt, audio[:, :-1]], dim=1).to(dtype)
    parameters, _ = model(inputs, model.condition({"contour": contours}, 2))
    drawn = uniforms([0, 1], 0, 100, model.distribution.num_uniforms)
    assert_drawn(model, audio, model.distribution.sample(parameters[..., 80:], drawn))
    assert torch.equal(wavenet.generate(model, 0.05, chunk=13, **options), audio)
    with pytest.raises(ValueError, match="the conditions cover 180 samples, prompt included; 181 were requested"):
        wavenet.generate(model, 0.0505, **options)
    with pytest.raises(ValueError, match="the conditions cover 180 samples; 181 were requested"):
        wavenet.generate(model, 0.01, **options | {"prompt": torch.zeros(181)})


@each(["categorical"])
def test_temperature_and_top_k(small, backend, dtype):
    model = small(dtype=dtype)
    assert torch.equal(
        wavenet.generate(model, 0.05, seed=1, temperature=0, backend=backend),
        wavenet.generate(model, 0.05, seed=2, top_k=1, backend=backend),
    )


@each(sorted(DISTRIBUTIONS.keys() - {"categorical"}))
def test_mixtures_take_a_temperature_and_no_top_k(small, backend, dtype):
    model = small(dtype=dtype)
    audio = [wavenet.generate(model, 0.05, seed=s, temperature=0, backend=backend) for s in (1, 2)]
    assert torch.equal(*audio)
    assert audio[0].unique().numel() > 3
    with pytest.raises(ValueError, match=r"^stream: top_k is 5, .*-bit samples, has no classes .* temperature below 1"):
        wavenet.stream(model, top_k=5, backend=backend)


def test_progress_counts_every_sample(small):
    counted = []
    wavenet.generate(small(), 0.1, chunk=64, on_progress=counted.append)
    assert counted == [64, 64, 64, 8]


def test_uniforms_can_be_drawn_from_anywhere():
    whole = uniforms([0, 7], 0, 1000, 3)
    assert whole.shape == (2, 3, 1000)
    assert 0 <= whole.min() < 0.01
    assert 0.99 < whole.max() < 1
    assert abs(whole.mean() - 0.5) < 0.02
    for start, length in ((0, 1), (1, 2), (5, 100), (333, 7)):
        assert torch.equal(uniforms([0, 7], start, length, 3), whole[..., start : start + length])
    assert torch.equal(uniforms([7], 10, 5, 3), whole[1:, :, 10:15])


def test_auto_takes_the_fastest_backend_or_gives_the_reason(small, monkeypatch):
    model = small()
    assert choose_backend(model).name == "cpu"
    with pytest.warns(UserWarning, match="slower backend 'reference', because cpu: it computes in float32"):
        assert choose_backend(small(dtype=torch.float64)).name == "reference"
    monkeypatch.setitem(sys.modules, "wavenet.native.instructions", None)
    with pytest.warns(UserWarning, match=r"because cpu: numba cannot be used here \(ModuleNotFoundError"):
        audio = wavenet.generate(model, 0.01)
    assert torch.equal(audio, wavenet.generate(model, 0.01, backend="reference"))
    with pytest.raises(ValueError, match="no backend supports this model: cpu: numba cannot be used here"):
        choose_backend(model, "cpu")


def test_a_diverged_model_is_named(small):
    model = small()
    model.stack.layers[1].skip.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"stack.layers.1.skip.weight holds infinity or nan; training diverged"):
        wavenet.generate(model, 0.01)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@each_distribution
def test_an_overflow_of_the_outputs_is_named(small, backend, monkeypatch):
    monkeypatch.setattr("wavenet.generation.cpu.verify_generation", lambda *_: None)  # which would refuse this one
    model = small(dtype=torch.float32)
    for weights in model.head.parameters():
        weights.data.fill_(1e30)
    with pytest.raises(FloatingPointError, match=r"samples 0 to 19: .* infinite or nan: its weights, .* older"):
        wavenet.generate(model, 0.01, backend=backend)


def test_an_overflow_of_the_state_is_named(small, monkeypatch):
    model = small(dtype=torch.float32)
    stream = wavenet.stream(model, 0.01, backend="cpu")
    run = stream._backend.run

    def overflowing(*arguments):
        audio, state = run(*arguments)
        state.layers[-1][0, 0, -1] = float("inf")
        return audio, state

    monkeypatch.setattr(stream._backend, "run", overflowing)
    with pytest.raises(FloatingPointError, match="outputs are infinite or nan"):
        next(stream)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num is 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"chunk": 0}, "chunk is 0"),
        ({"threads": 0}, "threads is 0; it must be a whole number from 1 to 1024, or null"),
        ({"backend": "abacus"}, "backend is 'abacus'; it must be auto or one of cpu, reference"),
        ({"weights": "int3"}, "weights is 'int3'; it must be float32, float16, bfloat16 or int8"),
        ({"weights": "int8", "backend": "reference"}, "weights is 'int8'; the reference backend takes the model's own"),
        ({"speaker": "eve"}, "unknown speaker 'eve'; choose from ann, bob"),
        ({"speaker": None}, "needs a speaker: .* ann, bob"),
        ({"conditions": {"mood": "glad"}}, "not conditioned on mood; it takes speaker"),
        ({"prompt": torch.zeros(3, 10)}, r"prompt is \(3, 10\); it must be \(T,\) or \(1, T\)"),
        ({"prompt": torch.zeros(0)}, "T at least 1"),
        ({"prompt": torch.full((10,), 3.0)}, r"a sample is 3; samples must lie in \[-1, 1\]"),
        ({"seconds": 0}, "seconds is 0; it must be a number above 0"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seed": [1, 2]}, "seed has 2 seeds; give one, or 1 for num=1"),
        ({"seconds": [1, 2]}, "seconds has 2 lengths; it must be one number, or 1 for num=1"),
        ({"seconds": [1, -2], "num": 2}, "seconds is -2; it must be a number above 0"),
    ],
)
def test_wrong_options_are_named(small, options, message):
    with pytest.raises(ValueError, match=message):
        wavenet.generate(small(("ann", "bob")), **{"seconds": 0.01, "speaker": "ann"} | options)


def test_a_state_of_another_batch_is_refused(small):
    model = small()
    state = wavenet.stream(model, num=2).state
    with pytest.raises(ValueError, match="state has 2 utterances, but num is 3"):
        wavenet.stream(model, num=3, state=state)
    with pytest.raises(ValueError, match="prompt and state were both given"):
        wavenet.stream(model, num=2, state=state, prompt=torch.zeros(5))
