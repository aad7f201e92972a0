import { Picture } from "/picture.js";
import { Player } from "/player.js";
import { Recorder } from "/recorder.js";
import { wavOf } from "/wav.js";

const MODES = {
  free: "new audio",
  continue: "continuation of a recording",
  resynthesise: "resynthesis of a recording",
};
const RECORDINGS = { continue: "Recording to continue", resynthesise: "Recording to resynthesise" };
const $ = (id) => document.getElementById(id);

let model; // its description, from the server
let recording = null; // a File or Blob
let recorder = null; // the Recorder while it records
let player;
let running = null; // the AbortController of the request in progress
let result = null; // {name, samples, filled, ended, began}: the last generation
const picture = new Picture($("wave"), $("spectrogram"));

main();

async function main() {
  try {
    model = await (await fetch("/model")).json();
  } catch {
    return showError("The server does not respond; is `wavenet demo` still running?");
  }
  describe();
  if (model.unsupported_reason) {
    $("unsupported-reason").textContent = model.unsupported_reason;
    $("unsupported-reason").hidden = false;
    return;
  }
  player = new Player(model.sample_rate, showPlaying);
  buildForm();
  $("request").hidden = false;
}

function describe() {
  const field = (1000 * model.receptive_field) / model.sample_rate;
  document.title = `${model.title} - WaveNet`;
  const facts = [
    `${model.title}, ${model.sample_rate} Hz`,
    `${model.layers} layers`,
    `${model.parameters.toLocaleString("en")} parameters`,
    `receptive field ${model.receptive_field} samples (${field < 10 ? field.toFixed(1) : field.toFixed(0)} ms)`,
    model.distribution,
    `conditions: ${model.conditions.join(", ") || "none"}`,
  ];
  const spans = facts.map((fact, k) => element("span", {}, k < facts.length - 1 ? `${fact} ·` : fact));
  $("facts").replaceChildren(...spans.flatMap((span) => [span, " "]));
}

function buildForm() {
  model.modes.forEach((mode, k) => {
    const radio = element("input", { type: "radio", name: "mode", value: mode, checked: k === 0 });
    radio.addEventListener("change", showMode);
    $("modes").append(element("label", {}, radio, ` ${MODES[mode]}`));
  });
  for (const { name, known, optional } of [...model.names].reverse()) {
    const options = known.map((each) => element("option", { value: each }, each));
    if (optional) options.unshift(element("option", { value: "" }, "(none)"));
    const title = name[0].toUpperCase() + name.slice(1);
    const select = element("select", { name: `conditions.${name}` }, ...options);
    $("settings").prepend(element("label", {}, `${title} `, select));
  }
  $("limits").textContent =
    `Up to ${model.max_seconds} s of audio, generated or uploaded; files up to ${size(model.max_upload_bytes)}. ` +
    "Nothing leaves this machine.";
  $("seconds").max = model.max_seconds;
  $("seconds").value = Math.min(4, model.max_seconds);
  $("modes").hidden = model.modes.length === 1;
  $("top-k-label").hidden = $("top-k-hint").hidden = !model.top_k;
  $("temperature").addEventListener("input", showTemperature);
  $("dice").addEventListener("click", () => ($("seed").value = crypto.getRandomValues(new Uint32Array(1))[0]));
  $("preview").addEventListener("error", () => ($("preview").hidden = true)); // the server may still support the format
  $("file").addEventListener("change", () => useFile($("file").files[0] ?? null));
  $("record").addEventListener("click", record);
  $("request").addEventListener("submit", (event) => {
    event.preventDefault();
    generate();
  });
  $("stop").addEventListener("click", stop);
  $("play").addEventListener("click", () => (player.state === "playing" ? player.pause() : player.play()));
  showMode();
  showTemperature();
}

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const mode = () => document.querySelector("input[name=mode]:checked").value;

function showMode() {
  $("recording").hidden = mode() === "free";
  $("recording-legend").textContent = RECORDINGS[mode()];
  $("seconds-label").hidden = mode() === "resynthesise";
  $("seconds").disabled = mode() === "resynthesise";
  arrangeSettings();
}

/** Arrange the settings in rows of three or four, so that none is alone in the last row, which the last one fills. */
function arrangeSettings() {
  const count = $("settings").querySelectorAll(":scope > :not([hidden])").length;
  const columns = Math.min(count, [3, 4].find((number) => count % number !== 1) ?? 4);
  $("settings").style.setProperty("--columns", columns);
  $("settings").style.setProperty("--last", columns - ((count - 1) % columns));
}

function showTemperature() {
  $("temperature-value").textContent = Number($("temperature").value).toFixed(2);
}

const nameOf = (file) => file.name ?? "The recording";

/** Use a file as the recording; the server checks its content. */
function useFile(file) {
  recording = null;
  showError("");
  $("preview").hidden = true;
  URL.revokeObjectURL($("preview").src);
  $("recording-name").textContent = "None yet";
  if (!file) return;
  const tooLarge = file.size > model.max_upload_bytes;
  if (tooLarge || file.size === 0) {
    $("file").value = "";
    const fault = tooLarge ? `is larger than ${size(model.max_upload_bytes)}` : "is empty";
    return fail(`${nameOf(file)} ${fault}; choose another file, or record one.`);
  }
  recording = file;
  $("recording-name").textContent = `${file.name ?? "Recorded here"}, ${size(file.size)}`;
  $("preview").src = URL.createObjectURL(file);
  $("preview").hidden = false;
}

async function record() {
  if (recorder) return endRecording();
  showError("");
  const started = new Recorder((seconds) => {
    if (recorder !== started) return;
    $("recording-name").textContent = `Recording, ${seconds.toFixed(1)} s`;
    if (seconds >= model.max_seconds - 0.1) endRecording();
  });
  $("record").disabled = true; // while the browser asks for permission
  try {
    await started.start();
  } catch (error) {
    return fail(error.message);
  } finally {
    $("record").disabled = false;
  }
  recorder = started;
  $("record").textContent = "Stop recording";
  $("record").setAttribute("aria-pressed", "true");
}

function endRecording() {
  const wav = recorder.stop();
  recorder = null;
  $("record").textContent = "Record";
  $("record").setAttribute("aria-pressed", "false");
  $("file").value = "";
  useFile(wav);
}

function query() {
  const parameters = new URLSearchParams({ mode: mode(), seed: $("seed").value, temperature: $("temperature").value });
  if (mode() !== "resynthesise") parameters.set("seconds", $("seconds").value);
  if (model.top_k && $("top-k").value) parameters.set("top_k", $("top-k").value);
  for (const select of $("settings").querySelectorAll("select")) {
    if (select.value) parameters.set(select.name, select.value);
  }
  return parameters;
}

async function generate() {
  if (running) return;
  if (recorder) endRecording();
  showError("");
  if (mode() !== "free" && !recording) return fail("There is no recording yet; choose a file, or record one.");
  const request = (running = new AbortController()), before = result, seed = $("seed").value;
  showRunning();
  showStatus("Starting …");
  try {
    player.unlock();
  } catch {
    // the error is shown when the audio begins
  }
  try {
    const body = mode() === "free" ? null : await readable(recording);
    const response = await fetch(`/generate?${query()}`, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/octet-stream" },
      signal: request.signal,
    });
    if (!response.ok) {
      const answer = await response.json().catch(() => null);
      throw new Error(sentence(answer?.error ?? `the server responded with status ${response.status}; try again`));
    }
    await receive(response, `${model.title.replace(/[^\w.-]/g, "_")}-seed-${seed}.wav`);
  } catch (error) {
    if (error instanceof TypeError) showError("The connection to the server was lost.");
    else if (error.name !== "AbortError") showError(error.message);
    if (result === before) showStatus("");
  } finally {
    running = null;
    request.abort(); // after an error here, stop the generation on the server too
    if (result && !result.ended) finish();
    showRunning();
  }
}

/** Return a recording; throws an Error with a message for the user if its file is no longer there or was changed. */
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error(`${nameOf(file)} can no longer be read; choose it again, or another file.`);
  }
  return file;
}

/** Play, draw and store the samples of a response as they arrive. */
async function receive(response, name) {
  const samples = new Float32Array(Number(response.headers.get("X-Samples")));
  result = { name, samples, filled: 0, ended: false, began: performance.now() };
  $("result").hidden = false;
  $("download").hidden = true;
  $("axis").textContent =
    `Waveform and spectrogram, ${(samples.length / model.sample_rate).toFixed(2)} s from left to right; ` +
    `0 Hz at the bottom, ${model.sample_rate / 2} Hz at the top; 80 dB from dark to bright.`;
  picture.begin(samples, model.sample_rate);
  try {
    await player.begin(samples.length);
  } catch (error) {
    showError(`This browser cannot play the audio (${error.message}); the WAV file can be downloaded.`);
  }
  const reader = response.body.getReader();
  let rest = new Uint8Array(0); // bytes of an incomplete sample
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest);
    bytes.set(value, rest.length);
    const whole = bytes.length - (bytes.length % 4);
    rest = bytes.slice(whole);
    const chunk = new Float32Array(bytes.buffer.slice(0, whole)); // little-endian, as all platforms of browsers are
    samples.set(chunk, result.filled);
    result.filled += chunk.length;
    picture.draw(result.filled, false);
    player.add(chunk);
  }
  finish();
}

function finish() {
  result.ended = true;
  result.seconds = (performance.now() - result.began) / 1000;
  picture.draw(result.filled, true);
  player.end();
  const samples = result.samples.subarray(0, result.filled);
  URL.revokeObjectURL($("download").href);
  $("download").href = URL.createObjectURL(wavOf(samples, model.sample_rate));
  $("download").download = result.name;
  $("download").hidden = result.filled === 0;
  showPlaying();
  showStatus(progress());
}

function stop() {
  running?.abort();
  player.pause();
}

function showRunning() {
  $("start").disabled = running !== null;
  $("stop").disabled = running === null;
}

function showPlaying() {
  const rate = model.sample_rate, total = result.samples.length;
  $("play").disabled = result.filled === 0;
  $("play").textContent = player.state === "playing" || player.state === "waiting" ? "Pause" : "Play";
  $("playhead").hidden = player.position === 0;
  $("playhead").style.left = `${(100 * player.position) / total}%`;
  const wait = player.state === "waiting" ? Math.ceil(player.waitSeconds) : 0;
  $("clock").textContent =
    `${(player.position / rate).toFixed(1)} of ${(result.filled / rate).toFixed(1)} s` +
    (wait > 0 ? `, playback starts in about ${wait} s` : "");
  if (!result.ended) showStatus(progress());
}

function progress() {
  const seconds = result.filled / model.sample_rate, total = result.samples.length;
  if (result.ended) {
    const speed = result.seconds > 0.05 ? `, ${(seconds / result.seconds).toPrecision(2)} × real time` : "";
    return `${result.filled < total ? "Stopped after" : "Generated"} ${seconds.toFixed(2)} s${speed}.`;
  }
  if (player.state === "waiting" && player.speed > 0 && player.speed < 1) {
    return "Generating, slower than real time: playback starts as soon as it can continue without a break.";
  }
  return "Generating …";
}

/** Update the status only if it changes, as screen readers announce each update. */
function showStatus(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = text === "";
}

/** Show why a request fails, or cannot be made, and clear the status, which is that of an earlier one. */
function fail(text) {
  showError(text);
  showStatus("");
}

/** A message of the server as a sentence. */
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;

const size = (bytes) => (bytes < 2 ** 20 ? `${Math.ceil(bytes / 2 ** 10)} kB` : `${+(bytes / 2 ** 20).toFixed(1)} MB`);
