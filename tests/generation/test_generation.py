import pytest
import torch

import wavenet
from wavenet.generation.uniforms import uniforms


def test_step_by_step_parameters_equal_whole_sequence_ones(small):
    """Teacher-forced: what the generator's loop computes is what training computed."""
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


def test_generated_audio_is_what_the_whole_sequence_model_would_draw(small):
    """Feed the audio back through the parallel forward, with the same random numbers: the same audio."""
    model = small(dtype=torch.float64)
    made = wavenet.generate(model, 0.1, num=2, seed=3)
    heard = torch.cat([torch.zeros(2, 1), made[:, :-1]], dim=1)
    parameters, _ = model(heard)
    again = model.distribution.sample(parameters, uniforms([3, 4], 0, 200))
    assert torch.equal(again, made)


def test_shape_range_and_seed(small):
    model = small()
    made = wavenet.generate(model, 0.05, num=3, seed=1)
    assert made.shape == (3, 100)
    assert made.dtype == torch.float32
    assert made.abs().max() <= 1
    assert torch.equal(made, wavenet.generate(model, 0.05, num=3, seed=1))
    assert not torch.equal(made, wavenet.generate(model, 0.05, num=3, seed=2))
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunk_length_changes_nothing(small, chunk):
    model = small(("ann",))
    whole = wavenet.generate(model, 0.1, speaker="ann", num=2)
    assert torch.equal(whole, wavenet.generate(model, 0.1, speaker="ann", num=2, chunk=chunk))


def test_an_utterance_of_a_batch_equals_itself_alone(small):
    model = small(("ann", "bob"), torch.float64)
    batch = wavenet.generate(model, 0.2, num=4, seed=5, speaker=["ann", "bob", "ann", "bob"])
    for k, speaker in enumerate(["ann", "bob", "ann", "bob"]):
        assert torch.equal(batch[k : k + 1], wavenet.generate(model, 0.2, seed=5 + k, speaker=speaker))


def test_a_stream_can_be_kept_and_continued(small):
    model = small()
    whole = wavenet.generate(model, 0.1, num=2, seed=4)
    stream = wavenet.stream(model, num=2, seed=4, chunk=60)
    first = next(stream)
    kept = stream.state
    second = stream.read(40)
    assert torch.equal(torch.cat([first, second], dim=1), whole[:, :100])
    resumed = wavenet.stream(model, seconds=0.05, num=2, seed=4, state=kept)
    assert torch.equal(torch.cat(list(resumed), dim=1), whole[:, 60:160])


def test_a_prompt_is_continued(small):
    """Prefilled in parallel, the generator stands where it stands after generating the prompt itself."""
    model = small(("ann",), torch.float64)
    whole = wavenet.generate(model, 0.1, speaker="ann", seed=9)
    prompt = whole[0, :80]
    continued = wavenet.generate(model, 0.05, speaker="ann", prompt=prompt)
    silent = wavenet.generate(model, 0.05, speaker="ann")
    assert not torch.equal(continued, silent)
    heard = torch.cat([torch.zeros(1, 1), prompt[None], continued[:, :-1]], dim=1)
    parameters, _ = model(heard, model.condition({"speaker": "ann"}, 1))
    drawn = model.distribution.sample(parameters[..., 80:], uniforms([0], 0, 100))
    assert torch.equal(drawn, continued)


def test_prompts_of_a_batch(small):
    model = small(dtype=torch.float64)
    prompts = torch.rand(2, 50) - 0.5
    both = wavenet.generate(model, 0.05, num=2, prompt=prompts)
    assert torch.equal(both[1:], wavenet.generate(model, 0.05, seed=1, prompt=prompts[1]))


def test_temperature_and_top_k(small):
    model = small()
    assert torch.equal(
        wavenet.generate(model, 0.05, seed=1, temperature=0), wavenet.generate(model, 0.05, seed=2, top_k=1)
    )


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num is 0"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"chunk": 0}, "chunk is 0"),
        ({"backend": "abacus"}, "backend is 'abacus'; it must be auto or one of reference"),
        ({"speaker": "eve"}, "unknown speaker 'eve'; the model knows ann, bob"),
        ({"speaker": None}, "needs a speaker: .* ann, bob"),
        ({"conditions": {"mood": "glad"}}, "not conditioned on mood; it takes speaker"),
        ({"prompt": torch.zeros(3, 10)}, r"prompt is \(3, 10\); it must be \(T,\) or \(1, T\)"),
        ({"prompt": torch.zeros(0)}, "T at least 1"),
        ({"prompt": torch.full((10,), 3.0)}, r"a sample is 3; samples must lie in \[-1, 1\]"),
        ({"seconds": 0}, "seconds is 0; it must be above 0"),
    ],
)
def test_wrong_options_are_named(small, options, message):
    with pytest.raises(ValueError, match=message):
        wavenet.generate(small(("ann", "bob")), **{"seconds": 0.01, "speaker": "ann"} | options)


def test_a_state_of_another_batch_is_refused(small):
    model = small()
    state = wavenet.stream(model, num=2).state
    with pytest.raises(ValueError, match="state is of 2 utterances, num is 3"):
        wavenet.stream(model, num=3, state=state)
    with pytest.raises(ValueError, match="prompt and state were both given"):
        wavenet.stream(model, num=2, state=state, prompt=torch.zeros(5))
