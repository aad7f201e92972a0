import { Picture } from "/picture.js";
import { Player } from "/player.js";
import { Recorder } from "/recorder.js";
import { wavOf } from "/wav.js";

const MODES = {
  free: "something new",
  continue: "what follows a recording",
  resynthesise: "a recording again",
};
const $ = (id) => document.getElementById(id);

let model; // what the server says of it
let recording = null; // a File or Blob
let recorder = null; // while it records
let player;
let running = null; // the AbortController of the request in progress
let made = null; // {name, samples, filled, ended, began}: what was asked for last
const picture = new Picture($("wave"), $("spectrogram"));

main();

async function main() {
  try {
    model = await (await fetch("/model")).json();
  } catch {
    return complain("The server does not answer; is `wavenet demo` still running?");
  }
  describe();
  if (model.unsupported_reason) {
    $("unsupported_reason").textContent = model.unsupported_reason;
    $("unsupported_reason").hidden = false;
    return;
  }
  player = new Player(model.sample_rate, showPlaying);
  buildForm();
  $("wish").hidden = false;
}

function describe() {
  const field = (1000 * model.receptive_field) / model.sample_rate;
  document.title = `${model.title} - WaveNet`;
  $("facts").textContent = [
    `${model.title} speaks at ${model.sample_rate} Hz`,
    `${model.layers} layers`,
    `${(model.parameters / 1e6).toPrecision(2)} M parameters`,
    `hears ${model.receptive_field} samples (${field < 10 ? field.toFixed(1) : field.toFixed(0)} ms)`,
    model.distribution,
    `told ${[...model.names.map((each) => each.name), ...model.features].join(", ") || "nothing"}`,
  ].join(" · ");
  $("limits").textContent =
    `Up to ${model.max_seconds} s of sound, made or sent; files up to ${size(model.max_upload_bytes)}. ` +
    "Nothing leaves this machine.";
}

function buildForm() {
  model.modes.forEach((mode, k) => {
    const radio = element("input", { type: "radio", name: "mode", value: mode, checked: k === 0 });
    radio.addEventListener("change", showMode);
    $("modes").append(element("label", {}, radio, ` ${MODES[mode]}`));
  });
  for (const { name, known, optional } of [...model.names].reverse()) {
    const options = known.map((each) => element("option", { value: each }, each));
    if (optional) options.unshift(element("option", { value: "" }, "(not told)"));
    const title = name[0].toUpperCase() + name.slice(1);
    const select = element("select", { name: `conditions.${name}` }, ...options);
    $("settings").prepend(element("label", {}, `${title} `, select));
  }
  $("seconds").max = model.max_seconds;
  $("seconds").value = Math.min(4, model.max_seconds);
  $("top-k-label").hidden = !model.top_k;
  $("temperature").addEventListener("input", showTemperature);
  $("dice").addEventListener("click", () => ($("seed").value = crypto.getRandomValues(new Uint32Array(1))[0]));
  $("preview").addEventListener("error", () => ($("preview").hidden = true)); // the server may know the format still
  $("file").addEventListener("change", () => take($("file").files[0] ?? null));
  $("record").addEventListener("click", record);
  $("wish").addEventListener("submit", (event) => {
    event.preventDefault();
    generate();
  });
  $("stop").addEventListener("click", stop);
  $("play").addEventListener("click", () => (player.state === "playing" ? player.pause() : player.play()));
  showMode();
  showTemperature();
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const mode = () => document.querySelector("input[name=mode]:checked").value;

function showMode() {
  $("recording").hidden = mode() === "free";
  $("seconds-label").hidden = mode() === "resynthesise";
  $("seconds").disabled = mode() === "resynthesise";
}

function showTemperature() {
  $("temperature-value").textContent = Number($("temperature").value).toFixed(2);
}

/** Use a file; the server looks at what is in it. */
function take(file) {
  recording = null;
  complain("");
  $("preview").hidden = true;
  URL.revokeObjectURL($("preview").src);
  $("heard").textContent = "None yet.";
  if (!file) return;
  if (file.size > model.max_upload_bytes) {
    complain(`${file.name} has ${size(file.size)}; up to ${size(model.max_upload_bytes)} are taken.`);
    return;
  }
  recording = file;
  $("heard").textContent = `${file.name ?? "Recorded here"}, ${size(file.size)}`;
  $("preview").src = URL.createObjectURL(file);
  $("preview").hidden = false;
}

async function record() {
  if (recorder) return endRecording();
  complain("");
  const mine = new Recorder((seconds) => {
    if (recorder !== mine) return;
    $("heard").textContent = `Recording, ${seconds.toFixed(1)} s`;
    if (seconds >= model.max_seconds - 0.1) endRecording();
  });
  $("record").disabled = true; // while the browser asks whether it may
  try {
    await mine.start();
  } catch (error) {
    return complain(error.message);
  } finally {
    $("record").disabled = false;
  }
  recorder = mine;
  $("record").textContent = "Stop recording";
  $("record").setAttribute("aria-pressed", "true");
}

function endRecording() {
  const wav = recorder.stop();
  recorder = null;
  $("record").textContent = "Record";
  $("record").setAttribute("aria-pressed", "false");
  $("file").value = "";
  take(wav);
}

function query() {
  const asked = new URLSearchParams({ mode: mode(), seed: $("seed").value, temperature: $("temperature").value });
  if (mode() !== "resynthesise") asked.set("seconds", $("seconds").value);
  if (model.top_k && $("top-k").value) asked.set("top_k", $("top-k").value);
  for (const select of $("settings").querySelectorAll("select")) {
    if (select.value) asked.set(select.name, select.value);
  }
  return asked;
}

async function generate() {
  if (running) return;
  if (recorder) endRecording();
  complain("");
  if (mode() !== "free" && !recording) return complain("There is no recording yet: choose a file, or record one.");
  const request = (running = new AbortController()), before = made, seed = $("seed").value;
  showRunning();
  say("Asking the model ...");
  try {
    player.unlock();
  } catch {
    // it is said when there would be something to hear
  }
  try {
    const response = await fetch(`/generate?${query()}`, {
      method: "POST",
      body: mode() === "free" ? null : recording,
      headers: { "Content-Type": "application/octet-stream" },
      signal: request.signal,
    });
    if (!response.ok) {
      const said = await response.json().catch(() => null);
      throw new Error(said?.error ?? `The server answered ${response.status}; try again.`);
    }
    await receive(response, `${model.title.replace(/[^\w.-]/g, "_")}-seed-${seed}.wav`);
  } catch (error) {
    if (error instanceof TypeError) complain("The connection to the server broke off.");
    else if (error.name !== "AbortError") complain(error.message);
    if (made === before) say(made ? progress() : "");
  } finally {
    running = null;
    request.abort(); // what went wrong here is not gone on with there
    if (made && !made.ended) finish();
    showRunning();
  }
}

/** Hear, draw and keep the samples of an answer as they come. */
async function receive(response, name) {
  const samples = new Float32Array(Number(response.headers.get("X-Samples")));
  made = { name, samples, filled: 0, ended: false, began: performance.now() };
  $("result").hidden = false;
  $("download").hidden = true;
  $("axis").textContent =
    `Short-time Fourier transform, 0 to ${model.sample_rate / 2} Hz, 80 dB from dark to bright; ` +
    `${(samples.length / model.sample_rate).toFixed(2)} s from left to right.`;
  picture.begin(samples, model.sample_rate);
  try {
    await player.begin(samples.length);
  } catch (error) {
    complain(`This browser plays no sound (${error.message}); the WAV can be saved.`);
  }
  const reader = response.body.getReader();
  let rest = new Uint8Array(0); // bytes of a sample that was cut in two
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest);
    bytes.set(value, rest.length);
    const whole = bytes.length - (bytes.length % 4);
    rest = bytes.slice(whole);
    const piece = new Float32Array(bytes.buffer.slice(0, whole)); // little-endian, as every machine with a browser is
    samples.set(piece, made.filled);
    made.filled += piece.length;
    picture.draw(made.filled, false);
    player.add(piece);
  }
  finish();
}

function finish() {
  made.ended = true;
  made.seconds = (performance.now() - made.began) / 1000;
  picture.draw(made.filled, true);
  player.end();
  const samples = made.samples.subarray(0, made.filled);
  URL.revokeObjectURL($("download").href);
  $("download").href = URL.createObjectURL(wavOf(samples, model.sample_rate));
  $("download").download = made.name;
  $("download").hidden = made.filled === 0;
  showPlaying();
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
  const rate = model.sample_rate, total = made.samples.length;
  $("play").disabled = made.filled === 0;
  $("play").textContent = player.state === "playing" || player.state === "waiting" ? "Pause" : "Play";
  $("playhead").hidden = player.place === 0;
  $("playhead").style.left = `${(100 * player.place) / total}%`;
  const patience = player.state === "waiting" ? Math.ceil(player.patience) : 0;
  $("clock").textContent =
    `${(player.place / rate).toFixed(1)} of ${(made.filled / rate).toFixed(1)} s` +
    (patience > 0 ? `, plays in about ${patience} s` : "");
  say(progress());
}

function progress() {
  const seconds = made.filled / model.sample_rate, total = made.samples.length;
  if (made.ended) {
    const speed = made.seconds > 0.05 ? `, ${(seconds / made.seconds).toPrecision(2)} x real time` : "";
    return `${made.filled < total ? "Stopped after" : "Made"} ${seconds.toFixed(2)} s${speed}.`;
  }
  if (player.state === "waiting" && player.speed > 0 && player.speed < 1) {
    return "Making it, slower than real time: playing begins as soon as it can go on without a break.";
  }
  return "Making it ...";
}

/** Only changes are said, as they are read aloud. */
function say(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = text === "";
}

const size = (bytes) => (bytes < 2 ** 20 ? `${Math.ceil(bytes / 2 ** 10)} kB` : `${+(bytes / 2 ** 20).toFixed(1)} MB`);
