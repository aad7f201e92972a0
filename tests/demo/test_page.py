"""The page in a real browser: what it shows, plays, draws, records, downloads and rejects."""

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
)  # caused by the tests
WATCH = """
    window.contexts = [];
    window.AudioContext = class extends AudioContext {
        constructor(...options) { super(...options); window.contexts.push(this); }
    };
    window.clocks = [];
    addEventListener("DOMContentLoaded", () => {
        const clock = document.getElementById("clock");
        new MutationObserver(() => window.clocks.push(parseFloat(clock.textContent))).observe(clock, {childList: true});
    });
    const ask = window.fetch;
    window.fetch = async (...request) => {  // browsers keep request and response bodies only for a short time
        window.sent = request[1]?.body;
        const answer = await ask(...request);
        if (!answer.headers.has("X-Samples")) return answer;
        const [page, test] = answer.body.tee();
        window.received = new Response(test).arrayBuffer().then((bytes) => [...new Uint8Array(bytes)]);
        window.received.catch(() => 0);  // if it is stopped
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
    """Open a service's page; at the end, check that there were no unexpected console messages or external requests."""
    open_ones, problems = [], []

    def call(url, **how):
        page = browser.new_page(**how)
        page.set_default_timeout(20000)
        page.add_init_script(WATCH)
        page.on(
            "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request", lambda request: None if request.url.startswith((url, "blob:")) else problems.append(request.url)
        )
        page.goto(url)
        open_ones.append(page)
        return page

    yield call
    for page in open_ones:
        page.close()
    assert [each for each in problems if not EXPECTED.search(each)] == []


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
    """Press the button; return the samples that were received."""
    page.evaluate("() => { window.received = null; }")
    page.click("#start")
    until(lambda: page.evaluate("window.received !== null"))
    received = page.evaluate("window.received")
    expect(page.locator("#status")).to_have_text(re.compile("^Generated "))
    return torch.frombuffer(bytearray(received), dtype=torch.float32)


def download(page, folder):
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(folder / "saved.wav")
    return waiting.value.suggested_filename


def test_it_shows_the_model_and_its_settings(opened, quick):
    page = opened(quick[1])
    expect(page.locator("#facts")).to_contain_text("tiny, 8000 Hz · 3 layers")
    expect(page.locator("#facts")).to_contain_text(" · 256 mu-law classes · conditions: speaker")
    expect(page).to_have_title("tiny - WaveNet")
    assert page.get_by_label("Speaker").locator("option").all_inner_texts() == ["allison", "carlo", "june"]
    for label in ("Seconds", "Seed", "Temperature", "Top k"):
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


def test_it_generates_plays_draws_and_downloads_the_same_audio_as_python(opened, quick, models, tmp_path):
    page = opened(quick[1])
    page.get_by_label("Speaker").select_option("june")
    page.get_by_label("Seconds").fill("1.5")
    page.get_by_label("Seed", exact=True).fill(str(2**63 - 1))  # not representable as a JavaScript number
    page.get_by_label("Temperature").fill("0.9")
    page.keyboard.press("Enter")  # without a mouse
    expect(page.locator("#clock")).to_have_text("1.5 of 1.5 s")  # played to the end
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    (context,) = page.evaluate("contexts.map(c => [c.state, c.sampleRate, c.currentTime])")
    assert context[:2] == ["running", 8000] and context[2] > 1.4
    clocks = page.evaluate("clocks")
    assert clocks == sorted(clocks) and len(set(clocks)) > 5  # increasing with time
    drawn = page.evaluate(COLUMNS)
    assert drawn["drawn"] == drawn["all"] > 300 and page.evaluate(COLOURS) > 100

    audio = generate(page)
    expected = wavenet.generate(models["mu-law"], 1.5, speaker="june", seed=2**63 - 1, temperature=0.9)[0]
    assert torch.equal(audio, expected)
    assert download(page, tmp_path) == f"tiny-seed-{2**63 - 1}.wav"
    write(tmp_path / "python.wav", expected, 8000)
    assert (tmp_path / "saved.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()


RENDER = """async ([samples, chunks, rate, contextRate, gap]) => {
    const length = Math.ceil(samples.length * contextRate / rate) + gap + 256;
    const context = new OfflineAudioContext(1, length, contextRate);
    await context.audioWorklet.addModule("/player-worklet.js");
    const processorOptions = {total: samples.length, rate};
    const options = {numberOfInputs: 0, outputChannelCount: [1], processorOptions};
    const node = new AudioWorkletNode(context, "player", options);
    node.connect(context.destination);
    const messages = [];
    node.port.onmessage = ({data}) => messages.push(data);
    const tick = () => new Promise(resolve => setTimeout(resolve, 30));
    let position = 0;
    const send = (count) => {
        for (; count > 0 && chunks.length > 0; count--) {
            const size = chunks.shift();
            node.port.postMessage({samples: Float32Array.from(samples.slice(position, position += size))});
        }
    };
    const at = (frame, act) => context.suspend(frame / contextRate).then(async () => {
        act(); await tick(); context.resume();
    });
    at(0, () => { send(chunks.length - 1); node.port.postMessage({playing: true}); });
    at(128 * 64, () => { send(1); node.port.postMessage({ended: true, playing: true}); });
    const out = (await context.startRendering()).getChannelData(0);
    await tick();
    return {out: [...out], messages};
}"""


def test_playback_is_exact(opened, quick):
    """Rendered offline: chunks of odd lengths, of which the last arrives too late."""
    page = opened(quick[1])
    samples = (torch.rand(6000, generator=torch.Generator().manual_seed(1)) * 2 - 1).tolist()
    arguments = [samples, [1, 127, 128, 1001, 2743, 2000], 8000, 8000, 8192]
    rendered = page.evaluate(RENDER, arguments)
    out = torch.tensor(rendered["out"])
    assert torch.equal(out[:4000], torch.tensor(samples[:4000]))
    assert not out[4000:8192].any()  # out of samples: silence, and the position is kept
    assert torch.equal(out[8192:10192], torch.tensor(samples[4000:]))
    assert not out[10192:].any()
    starved, finished = (
        [each["position"] for each in rendered["messages"] if name in each] for name in ("starved", "finished")
    )
    assert (starved, finished) == ([4000], [6000])


def test_a_rate_that_the_device_does_not_support_is_interpolated(opened, quick):
    page = opened(quick[1])
    samples = torch.rand(3000, generator=torch.Generator().manual_seed(1)) * 2 - 1
    out = torch.tensor(page.evaluate(RENDER, [samples.tolist(), [2500, 500], 4000, 8000, 8192])["out"])
    torch.testing.assert_close(out[:4998:2], samples[:2499], rtol=0, atol=0)
    torch.testing.assert_close(out[1:4998:2], (samples[:2499] + samples[1:2500]) / 2, rtol=0, atol=1e-6)


def test_when_playback_starts(opened, quick):
    page = opened(quick[1])
    ask = "([name, ...values]) => import('/player.js').then(player => player[name](...values))"
    for ahead, left, speed, begins in (
        (0.1, 5, 20, False),  # not enough yet
        (0.3, 5, 20, True),
        (0.3, 5, 0, False),  # the speed is not known yet
        (1.0, 3, 0.5, False),  # 4 s to play, 6 s to generate
        (2.5, 1.5, 0.5, True),
        (0.01, 0, 0, True),  # all samples have arrived
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


def test_a_slow_model_is_buffered_drawn_and_stopped(opened, models, tmp_path):
    service = GenerationService(models["mu-law"], "slow", Limits(max_seconds=60, max_concurrent=1), backend="reference")
    service.warm_up()
    with serving(service) as url:
        page = opened(url)
        page.get_by_label("Seconds").fill("60")
        page.click("#start")
        expect(page.locator("#status")).to_contain_text(
            "slower than real time: playback starts as soon as it can continue"
        )
        expect(page.locator("#clock")).to_have_text(re.compile(r"^0\.0 of \d\.\d s, playback starts in about \d+ s"))
        first = page.evaluate(COLUMNS)["drawn"]
        until(lambda: page.evaluate(COLUMNS)["drawn"] > first)
        assert service.running == 1

        other = opened(url)  # another user at the same time
        other.click("#start")
        expect(other.get_by_role("alert").last).to_contain_text("1 of 1 generations are already running; wait for one")

        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#status")).to_contain_text("Stopped after")
        until(lambda: service.running == 0)
        download(page, tmp_path)
        saved = read(tmp_path / "saved.wav")[0]
        python = wavenet.generate(models["mu-law"], len(saved) / 8000, speaker="allison", backend="reference")[0]
        write(tmp_path / "python.wav", python, 8000)
        assert 100 < len(saved) < 60 * 8000
        assert (tmp_path / "saved.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()
        assert page.evaluate(COLUMNS)["drawn"] < page.evaluate(COLUMNS)["all"]
        page.get_by_role("button", name="Play", exact=True).click()
        expect(page.locator("#clock")).to_have_text(re.compile(r"^0\.[1-9] of"))


def test_a_recording_is_continued(opened, quick, models):
    page = opened(quick[1])
    page.get_by_label("continuation of a recording").check()
    page.set_input_files("#file", RECORDING)
    expect(page.locator("#recording-name")).to_contain_text("june_001.flac, 2")
    page.get_by_label("Seconds").fill("0.4")
    audio = generate(page)
    prompt, _ = read(RECORDING, 8000)
    assert torch.equal(audio, wavenet.generate(models["mu-law"], 0.4, speaker="allison", prompt=prompt)[0])


def test_a_recording_is_resynthesised(opened, models):
    with serving(GenerationService(models["vocoder"], "vocoder")) as url:
        page = opened(url)
        expect(page.get_by_label("Seconds")).to_be_hidden()
        page.click("#start")
        expect(page.get_by_role("alert").last).to_have_text("There is no recording yet; choose a file, or record one.")
        page.set_input_files("#file", RECORDING)
        audio = generate(page)
        waveform, _ = read(RECORDING, 8000)
        conditions = {each.name: each.extract(waveform) for each in models["vocoder"].features}
        assert torch.equal(audio, wavenet.generate(models["vocoder"], len(waveform) / 8000, conditions=conditions)[0])


def test_the_microphone(opened, quick, models, tmp_path):
    """Chromium's fake microphone beeps once a second."""
    page = opened(quick[1])
    page.get_by_label("continuation of a recording").check()
    page.get_by_label("Seconds").fill("0.2")
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#recording-name")).to_have_text(re.compile(r"^Recording, (1\.[2-9]|[2-9]\.)"))
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator("#recording-name")).to_contain_text("Recorded here, ")
    audio = generate(page)
    sent = page.evaluate("sent.arrayBuffer().then((bytes) => [...new Uint8Array(bytes)])")
    (tmp_path / "sent.wav").write_bytes(bytes(sent))
    with wave.open(str(tmp_path / "sent.wav")) as sent:
        assert sent.getsampwidth() == 2 and sent.getnchannels() == 1
        assert sent.getnframes() > sent.getframerate()
    prompt, _ = read(tmp_path / "sent.wav", 8000)
    assert prompt.abs().max() > 0.1
    assert torch.equal(audio, wavenet.generate(models["mu-law"], 0.2, speaker="allison", prompt=prompt)[0])


def test_bad_files_are_rejected_with_a_message_and_the_page_keeps_working(opened, quick, tmp_path):
    page = opened(quick[1])
    (tmp_path / f"{NASTY[:20]}.wav".replace("/", "")).write_text("This is no recording.\n" * 50)
    (tmp_path / "large.wav").write_bytes(bytes(MEGABYTE + 1))
    write(tmp_path / "long.wav", torch.zeros(11 * 8000), 8000)
    page.get_by_label("continuation of a recording").check()
    page.get_by_label("Seconds").fill("0.1")
    alert = page.get_by_role("alert").last
    for name, message in (
        (f"{NASTY[:20]}.wav", re.compile("^Your recording: not readable as audio.*MP3.$")),
        ("long.wav", re.compile("^Your recording: longer than 10 s")),
        ("large.wav", "large.wav is larger than 1 MB; choose another file, or record one."),
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


def test_names_of_an_untrusted_model_are_only_text(opened):
    model = build_model(*settings(["speaker"]), f"model.conditioners.speaker.categories={json.dumps([NASTY, 'b'])}")
    with serving(GenerationService(model.eval(), NASTY)) as url:
        page = opened(url)
        expect(page.locator("#facts")).to_contain_text(NASTY)
        expect(page).to_have_title(f"{NASTY} - WaveNet")
        assert page.get_by_label("Speaker").locator("option").first.inner_text() == NASTY
        page.get_by_label("Seconds").fill("0.1")
        assert len(generate(page)) == 800
        assert page.locator("img").count() == 0


def test_a_model_without_a_supported_mode_shows_why(opened):
    with serving(GenerationService(build_model(*settings(["file"])).eval())) as url:
        page = opened(url)
        expect(page.get_by_role("alert").first).to_contain_text(
            "This model needs 'features', which another program computes"
        )
        expect(page.locator("#facts")).to_contain_text("conditions: features")
        expect(page.locator("#request")).to_be_hidden()


def test_a_browser_without_audio_still_draws_and_downloads(opened, quick, tmp_path):
    page = opened(quick[1])
    page.evaluate("() => { window.AudioContext = class { constructor() { throw new Error('no device'); } }; }")
    page.get_by_label("Seconds").fill("0.1")
    assert len(generate(page)) == 800
    message = "This browser cannot play the audio (no device); the WAV file can be downloaded."
    expect(page.get_by_role("alert").last).to_have_text(message)
    assert page.evaluate(COLUMNS)["drawn"] == page.evaluate(COLUMNS)["all"]
    download(page, tmp_path)
    assert len(read(tmp_path / "saved.wav")[0]) == 800


def test_a_server_that_stops_during_a_generation(opened, models):
    with serving(GenerationService(models["mu-law"], "slow", backend="reference")) as url:
        page = opened(url)
        page.get_by_label("Seconds").fill("30")
        page.click("#start")
        expect(page.locator("#status")).to_contain_text("Generating")
    expect(page.get_by_role("alert").last).to_have_text("The connection to the server was lost.")
    expect(page.locator("#status")).to_contain_text("Stopped after")


def test_an_empty_a_deleted_and_a_missing_file(opened, quick, tmp_path):
    page = opened(quick[1])
    alert = page.get_by_role("alert").last
    page.get_by_label("continuation of a recording").check()
    (tmp_path / "empty.wav").touch()
    page.set_input_files("#file", tmp_path / "empty.wav")
    expect(alert).to_have_text("empty.wav is empty; choose another file, or record one.")
    assert page.input_value("#file") == ""  # as nothing can be sent
    page.click("#start")
    expect(alert).to_have_text("There is no recording yet; choose a file, or record one.")
    (tmp_path / "deleted.flac").write_bytes(RECORDING.read_bytes())
    page.set_input_files("#file", tmp_path / "deleted.flac")
    expect(page.locator("#preview")).to_be_visible()
    (tmp_path / "deleted.flac").unlink()
    page.click("#start")
    expect(alert).to_have_text("deleted.flac can no longer be read; choose it again, or another file.")


def test_the_status_is_that_of_the_last_request(opened, quick, monkeypatch):
    page = opened(quick[1])
    status, alert = page.locator("#status"), page.get_by_role("alert").last
    page.get_by_label("Seconds").fill("0.5")
    for mode, message in (("new audio", "Your wish: not possible."), ("continuation", "There is no recording yet")):
        page.get_by_label("new audio").check()
        generate(page)
        with monkeypatch.context() as broken:
            broken.setattr(quick[0], "start", refuse)
            page.get_by_label(mode).check()
            page.click("#start")
            expect(alert).to_contain_text(message)
        expect(status).to_be_empty()
        page.get_by_role("button", name="Play", exact=True).click()  # of the audio of before
        expect(page.locator("#clock")).to_have_text("0.5 of 0.5 s")
        expect(status).to_be_empty()


def refuse(*_):
    raise ValueError("your wish: not possible")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("conditions", [[], ["speaker"], ["speaker", "language"], ["speaker", "language", "gender"]])
def test_no_setting_is_alone_in_a_row(opened, conditions, width):
    with serving(GenerationService(build_model(*settings(conditions)).eval())) as url:
        page = opened(url, viewport={"width": width, "height": 800})
        expect(page.locator("#request")).to_be_visible()
        fields = page.evaluate(
            """() => {
                const settings = document.getElementById("settings");
                const boxes = [...settings.children].map((each) => each.getBoundingClientRect());
                return boxes.map(({bottom, width}) => [Math.round(bottom), width / settings.clientWidth]);
            }"""
        )
    assert len(fields) == len(conditions) + 4
    bottoms = sorted({bottom for bottom, _ in fields})
    rows = [[share for bottom, share in fields if bottom == row] for row in bottoms]
    assert all(len(row) > 1 or row[0] > 0.9 for row in rows)
    assert sum(rows[-1]) > 0.9


@pytest.mark.parametrize("width", [320, 390, 1280, 1600])
def test_nothing_is_cut_off(opened, quick, width):
    page = opened(quick[1], viewport={"width": width, "height": 800})
    page.get_by_label("continuation of a recording").check()
    page.set_input_files("#file", RECORDING)
    page.get_by_label("Seconds").fill("0.1")
    generate(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#result").bounding_box()
    assert box["x"] == pytest.approx(width - box["x"] - box["width"], abs=1) and box["width"] <= 832
