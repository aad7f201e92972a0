"""The page in a real browser: what it shows, plays, draws, records, saves and refuses."""

import json
import re
import wave

import pytest
import torch

import wavenet
from tests.configured import build_model, settings
from tests.conftest import CHROMIUM, PROMPTS
from tests.demo.serving import serving, until
from tests.reliability.models import make
from wavenet.audio import read, write
from wavenet.demo.capabilities import Limits
from wavenet.demo.service import GenerationService

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium, chromium-browser or google-chrome"),
]

RECORDING = PROMPTS / "june" / "june_001.flac"
NASTY = "<img src=x onerror=\"document.title='broken'\">"
MEGABYTE = 2**20
EXPECTED = re.compile(
    "status of (4|503)|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|willReadFrequently"
)  # by what the tests do
WATCH = """
    window.contexts = [];
    window.AudioContext = class extends AudioContext {
        constructor(...given) { super(...given); window.contexts.push(this); }
    };
    window.clocks = [];
    addEventListener("DOMContentLoaded", () => {
        const clock = document.getElementById("clock");
        new MutationObserver(() => window.clocks.push(parseFloat(clock.textContent))).observe(clock, {childList: true});
    });
    const ask = window.fetch;
    window.fetch = async (...given) => {  // the browser's own record of what went and came is not kept for long
        window.sent = given[1]?.body;
        const answer = await ask(...given);
        if (!answer.headers.has("X-Samples")) return answer;
        const [page, test] = answer.body.tee();
        window.heard = new Response(test).arrayBuffer().then((bytes) => [...new Uint8Array(bytes)]);
        window.heard.catch(() => 0);  // when it is stopped
        return new Response(page, answer);
    };
"""
COLUMNS = """() => {
    const canvas = document.getElementById("spectrogram");
    const {data} = canvas.getContext("2d").getImageData(0, canvas.height - 1, canvas.width, 1);
    return {drawn: [...data].filter((value, k) => k % 4 === 3 && value === 255).length, all: canvas.width};
}"""
COLOURS = """() => {
    const canvas = document.getElementById("spectrogram");
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Open a service's page; in the end, nothing may have been complained about or asked of anybody else."""
    open_ones, complaints = [], []

    def call(url, **how):
        page = browser.new_page(**how)
        page.set_default_timeout(20000)
        page.add_init_script(WATCH)
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "blob:")) else complaints.append(asked.url))
        page.goto(url)
        open_ones.append(page)
        return page

    yield call
    for page in open_ones:
        page.close()
    assert [each for each in complaints if not EXPECTED.search(each)] == []


@pytest.fixture(scope="module")
def models():
    return {"mu-law": make("mu-law", tiny=True), "vocoder": make("vocoder", tiny=True)}


@pytest.fixture(scope="module")
def quick(models):
    service = GenerationService(models["mu-law"], "tiny", Limits(max_seconds=10, max_upload_bytes=MEGABYTE))
    service.warm_up()
    with serving(service) as url:
        yield service, url


def generate(page):
    """Press the button; returns the samples that came."""
    page.evaluate("() => { window.heard = null; }")
    page.click("#start")
    until(lambda: page.evaluate("window.heard !== null"))
    heard = page.evaluate("window.heard")
    expect(page.locator("#status")).to_have_text(re.compile("^Made "))
    return torch.frombuffer(bytearray(heard), dtype=torch.float32)


def saved(page, folder):
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(folder / "saved.wav")
    return download.value.suggested_filename


def test_it_shows_what_the_model_is_and_takes(opened, quick):
    page = opened(quick[1])
    expect(page.locator("#facts")).to_contain_text("tiny speaks at 8000 Hz · 3 layers")
    expect(page).to_have_title("tiny - WaveNet")
    assert page.get_by_label("Speaker").locator("option").all_inner_texts() == ["allison", "carlo", "june"]
    for label in ("Seconds", "Seed", "Temperature", "Likeliest classes only"):
        expect(page.get_by_label(label, exact=label == "Seed").first).to_be_visible()
    assert page.get_by_role("radio").count() == 2
    before = page.get_by_label("Seed", exact=True).input_value()
    page.get_by_role("button", name="Another seed").click()
    assert page.get_by_label("Seed", exact=True).input_value() != before
    nameless = page.eval_on_selector_all(
        "input, select, button, audio, canvas",
        "all => all.filter(e => !(e.labels?.length || e.innerText?.trim() || e.ariaLabel)).map(e => e.outerHTML)",
    )
    assert nameless == []


def test_it_makes_plays_draws_and_saves_the_same_audio_as_python(opened, quick, models, tmp_path):
    page = opened(quick[1])
    page.get_by_label("Speaker").select_option("june")
    page.get_by_label("Seconds").fill("1.5")
    page.get_by_label("Seed", exact=True).fill(str(2**63 - 1))  # no double of JavaScript has it
    page.get_by_label("Temperature").fill("0.9")
    page.keyboard.press("Enter")  # no mouse is needed
    expect(page.locator("#clock")).to_have_text("1.5 of 1.5 s")  # heard to the end
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    (context,) = page.evaluate("contexts.map(c => [c.state, c.sampleRate, c.currentTime])")
    assert context[:2] == ["running", 8000] and context[2] > 1.4
    clocks = page.evaluate("clocks")
    assert clocks == sorted(clocks) and len(set(clocks)) > 5  # while time went by
    drawn = page.evaluate(COLUMNS)
    assert drawn["drawn"] == drawn["all"] > 300 and page.evaluate(COLOURS) > 100

    heard = generate(page)
    made = wavenet.generate(models["mu-law"], 1.5, speaker="june", seed=2**63 - 1, temperature=0.9)[0]
    assert torch.equal(heard, made)
    assert saved(page, tmp_path) == f"tiny-seed-{2**63 - 1}.wav"
    write(tmp_path / "python.wav", made, 8000)
    assert (tmp_path / "saved.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()


RENDER = """async ([samples, pieces, rate, contextRate, gap]) => {
    const length = Math.ceil(samples.length * contextRate / rate) + gap + 256;
    const context = new OfflineAudioContext(1, length, contextRate);
    await context.audioWorklet.addModule("/player-worklet.js");
    const processorOptions = {total: samples.length, rate};
    const options = {numberOfInputs: 0, outputChannelCount: [1], processorOptions};
    const node = new AudioWorkletNode(context, "player", options);
    node.connect(context.destination);
    const said = [];
    node.port.onmessage = ({data}) => said.push(data);
    const tick = () => new Promise(resolve => setTimeout(resolve, 30));
    let place = 0;
    const send = (count) => {
        for (; count > 0 && pieces.length > 0; count--) {
            const size = pieces.shift();
            node.port.postMessage({samples: Float32Array.from(samples.slice(place, place += size))});
        }
    };
    const at = (frame, act) => context.suspend(frame / contextRate).then(async () => {
        act(); await tick(); context.resume();
    });
    at(0, () => { send(pieces.length - 1); node.port.postMessage({playing: true}); });
    at(128 * 64, () => { send(1); node.port.postMessage({ended: true, playing: true}); });
    const out = (await context.startRendering()).getChannelData(0);
    await tick();
    return {out: [...out], said};
}"""


def test_what_is_played_is_what_came_sample_for_sample(opened, quick):
    """Rendered in place of being heard: pieces of odd lengths, of which the last comes too late."""
    page = opened(quick[1])
    samples = (torch.rand(6000, generator=torch.Generator().manual_seed(1)) * 2 - 1).tolist()
    given = [samples, [1, 127, 128, 1001, 2743, 2000], 8000, 8000, 8192]
    rendered = page.evaluate(RENDER, given)
    out = torch.tensor(rendered["out"])
    assert torch.equal(out[:4000], torch.tensor(samples[:4000]))
    assert not out[4000:8192].any()  # dry: silence, and no place is lost
    assert torch.equal(out[8192:10192], torch.tensor(samples[4000:]))
    assert not out[10192:].any()
    starved, finished = (
        [each["place"] for each in rendered["said"] if name in each] for name in ("starved", "finished")
    )
    assert (starved, finished) == ([4000], [6000])


def test_a_rate_that_the_device_cannot_have_is_played_in_between(opened, quick):
    page = opened(quick[1])
    samples = torch.rand(3000, generator=torch.Generator().manual_seed(1)) * 2 - 1
    out = torch.tensor(page.evaluate(RENDER, [samples.tolist(), [2500, 500], 4000, 8000, 8192])["out"])
    torch.testing.assert_close(out[:4998:2], samples[:2499], rtol=0, atol=0)
    torch.testing.assert_close(out[1:4998:2], (samples[:2499] + samples[1:2500]) / 2, rtol=0, atol=1e-6)


def test_when_playing_begins(opened, quick):
    page = opened(quick[1])
    ask = "([name, ...given]) => import('/player.js').then(player => player[name](...given))"
    for ahead, left, speed, begins in (
        (0.1, 5, 20, False),  # too little yet
        (0.3, 5, 20, True),
        (0.3, 5, 0, False),  # nobody knows how fast it is
        (1.0, 3, 0.5, False),  # 4 s to be played, 6 s to be made
        (2.5, 1.5, 0.5, True),
        (0.01, 0, 0, True),  # all is there
    ):
        assert page.evaluate(ask, ["enough", ahead, left, speed]) is begins
    waited = page.evaluate(ask, ["wait", 0, 4, 0.5])
    assert page.evaluate(ask, ["enough", 0.5 * waited + 1e-9, 4 - 0.5 * waited, 0.5])
    assert not page.evaluate(ask, ["enough", 0.5 * waited - 0.1, 4.1 - 0.5 * waited, 0.5])


def test_the_spectrogram_is_a_fourier_transform(opened, quick):
    page = opened(quick[1])
    signal = torch.randn(2, 64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    transform = "([re, im]) => import('/picture.js').then(picture => { picture.transform(re, im); return [re, im]; })"
    real, imaginary = torch.tensor(page.evaluate(transform, signal.tolist()), dtype=torch.float64)
    torch.testing.assert_close(torch.complex(real, imaginary), torch.fft.fft(torch.complex(*signal)))


def test_a_slow_model_is_waited_for_drawn_as_it_comes_and_stopped(opened, models, tmp_path):
    service = GenerationService(models["mu-law"], "slow", Limits(max_seconds=60, max_concurrent=1), backend="reference")
    service.warm_up()
    with serving(service) as url:
        page = opened(url)
        page.get_by_label("Seconds").fill("60")
        page.click("#start")
        expect(page.locator("#status")).to_contain_text("slower than real time: playing begins as soon as it can go on")
        expect(page.locator("#clock")).to_have_text(re.compile(r"^0\.0 of \d\.\d s, plays in about \d+ s"))
        first = page.evaluate(COLUMNS)["drawn"]
        until(lambda: page.evaluate(COLUMNS)["drawn"] > first)
        assert service.running == 1

        other = opened(url)  # by somebody else, meanwhile
        other.click("#start")
        expect(other.get_by_role("alert").last).to_contain_text("1 of 1 generations are running already; wait for one")

        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#status")).to_contain_text("Stopped after")
        until(lambda: service.running == 0)
        saved(page, tmp_path)
        made = read(tmp_path / "saved.wav")[0]
        python = wavenet.generate(models["mu-law"], len(made) / 8000, speaker="allison", backend="reference")[0]
        write(tmp_path / "python.wav", python, 8000)
        assert 100 < len(made) < 60 * 8000
        assert (tmp_path / "saved.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()
        assert page.evaluate(COLUMNS)["drawn"] < page.evaluate(COLUMNS)["all"]
        page.get_by_role("button", name="Play", exact=True).click()
        expect(page.locator("#clock")).to_have_text(re.compile(r"^0\.[1-9] of"))


def test_a_recording_is_continued(opened, quick, models):
    page = opened(quick[1])
    page.get_by_label("what follows a recording").check()
    page.set_input_files("#file", RECORDING)
    expect(page.locator("#heard")).to_contain_text("june_001.flac, 2")
    page.get_by_label("Seconds").fill("0.4")
    heard = generate(page)
    prompt, _ = read(RECORDING, 8000)
    assert torch.equal(heard, wavenet.generate(models["mu-law"], 0.4, speaker="allison", prompt=prompt)[0])


def test_a_recording_is_made_again(opened, models):
    with serving(GenerationService(models["vocoder"], "vocoder")) as url:
        page = opened(url)
        expect(page.get_by_label("Seconds")).to_be_hidden()
        page.click("#start")
        expect(page.get_by_role("alert").last).to_have_text("There is no recording yet: choose a file, or record one.")
        page.set_input_files("#file", RECORDING)
        heard = generate(page)
        waveform, _ = read(RECORDING, 8000)
        conditions = {each.name: each.extract(waveform) for each in models["vocoder"].features}
        assert torch.equal(heard, wavenet.generate(models["vocoder"], len(waveform) / 8000, conditions=conditions)[0])


def test_the_microphone(opened, quick, models, tmp_path):
    """Chromium's microphone of the test beeps once a second."""
    page = opened(quick[1])
    page.get_by_label("what follows a recording").check()
    page.get_by_label("Seconds").fill("0.2")
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#heard")).to_have_text(re.compile(r"^Recording, (1\.[2-9]|[2-9]\.)"))
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator("#heard")).to_contain_text("Recorded here, ")
    heard = generate(page)
    sent = page.evaluate("sent.arrayBuffer().then((bytes) => [...new Uint8Array(bytes)])")
    (tmp_path / "sent.wav").write_bytes(bytes(sent))
    with wave.open(str(tmp_path / "sent.wav")) as sent:
        assert sent.getsampwidth() == 2 and sent.getnchannels() == 1
        assert sent.getnframes() > sent.getframerate()
    prompt, _ = read(tmp_path / "sent.wav", 8000)
    assert prompt.abs().max() > 0.1
    assert torch.equal(heard, wavenet.generate(models["mu-law"], 0.2, speaker="allison", prompt=prompt)[0])


def test_bad_files_are_refused_in_words_and_the_page_goes_on(opened, quick, tmp_path):
    page = opened(quick[1])
    (tmp_path / f"{NASTY[:20]}.wav".replace("/", "")).write_text("This is no recording.\n" * 50)
    (tmp_path / "large.wav").write_bytes(bytes(MEGABYTE + 1))
    write(tmp_path / "long.wav", torch.zeros(11 * 8000), 8000)
    page.get_by_label("what follows a recording").check()
    page.get_by_label("Seconds").fill("0.1")
    alert = page.get_by_role("alert").last
    for name, message in (
        (f"{NASTY[:20]}.wav", re.compile("^your recording: not readable as audio")),
        ("long.wav", re.compile("^your recording: longer than 10 s")),
        ("large.wav", "large.wav has 1 MB; up to 1 MB are taken."),
    ):
        page.set_input_files("#file", tmp_path / name)
        if name != "large.wav":
            page.click("#start")
        expect(alert).to_have_text(message)
        assert page.locator("#error *").count() == 0
    expect(page.locator("#result")).to_be_hidden()
    page.set_input_files("#file", RECORDING)
    expect(alert).to_be_hidden()
    assert len(generate(page)) == 800


def test_names_of_a_strangers_model_are_only_text(opened):
    model = build_model(*settings(["speaker"]), f"model.conditioners.speaker.categories={json.dumps([NASTY, 'b'])}")
    with serving(GenerationService(model.eval(), NASTY)) as url:
        page = opened(url)
        expect(page.locator("#facts")).to_contain_text(NASTY)
        expect(page).to_have_title(f"{NASTY} - WaveNet")
        assert page.get_by_label("Speaker").locator("option").first.inner_text() == NASTY
        page.get_by_label("Seconds").fill("0.1")
        assert len(generate(page)) == 800
        assert page.locator("img").count() == 0


def test_a_model_that_no_recording_serves_says_why(opened):
    with serving(GenerationService(build_model(*settings(["file"])).eval())) as url:
        page = opened(url)
        expect(page.get_by_role("alert").first).to_contain_text(
            "This model needs 'features', which another program makes"
        )
        expect(page.locator("#wish")).to_be_hidden()


def test_a_browser_without_sound_still_draws_and_saves(opened, quick, tmp_path):
    page = opened(quick[1])
    page.evaluate("() => { window.AudioContext = class { constructor() { throw new Error('no device'); } }; }")
    page.get_by_label("Seconds").fill("0.1")
    assert len(generate(page)) == 800
    said = "This browser plays no sound (no device); the WAV can be saved."
    expect(page.get_by_role("alert").last).to_have_text(said)
    assert page.evaluate(COLUMNS)["drawn"] == page.evaluate(COLUMNS)["all"]
    saved(page, tmp_path)
    assert len(read(tmp_path / "saved.wav")[0]) == 800


def test_a_server_that_ends_meanwhile_is_named(opened, models):
    with serving(GenerationService(models["mu-law"], "slow", backend="reference")) as url:
        page = opened(url)
        page.get_by_label("Seconds").fill("30")
        page.click("#start")
        expect(page.locator("#status")).to_contain_text("Making it")
    expect(page.get_by_role("alert").last).to_have_text("The connection to the server broke off.")
    expect(page.locator("#status")).to_contain_text("Stopped after")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off(opened, quick, width):
    page = opened(quick[1], viewport={"width": width, "height": 800})
    page.get_by_label("what follows a recording").check()
    page.set_input_files("#file", RECORDING)
    page.get_by_label("Seconds").fill("0.1")
    generate(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
