const CUSHION = 0.25; // seconds that must have arrived before playback starts
const SAFETY = 1.15; // factor on the estimated time to generate the remainder

/**
 * Whether playback can start without running out of samples before the end.
 * @param {number} ahead Seconds that have arrived and have not been played.
 * @param {number} left Seconds that are still to be generated.
 * @param {number} speed Seconds generated per second; 0 if not known yet.
 */
export function enough(ahead, left, speed) {
  return left <= 0 || (speed > 0 && ahead >= CUSHION && ahead + left >= (SAFETY * left) / speed);
}

/** Seconds to wait until `enough` holds, at a constant speed. */
export function wait(ahead, left, speed) {
  if (enough(ahead, left, speed) || speed <= 0) return 0;
  const seconds = ahead + left; // to be played
  return Math.max(0, (SAFETY * left) / speed - seconds) / SAFETY;
}

/** Plays utterances as they arrive, one at a time. */
export class Player {
  /** @param {number} rate Hz. @param {(player: Player) => void} changed Called when `position` or `state` changes. */
  constructor(rate, changed) {
    this.rate = rate;
    this.changed = changed;
    this.state = "idle"; // waiting (for samples), playing, paused, finished
    this.position = 0; // samples
  }

  /** Start the audio context; browsers allow it only in a user's event. Throws if audio is not available. */
  unlock() {
    this.context ??= openContext(this.rate);
    this.context.resume();
  }

  /** Prepare for an utterance. @param {number} total Samples. */
  async begin(total) {
    this.close();
    this.total = total;
    this.filled = this.position = this.began = 0;
    this.ended = false;
    this.unlock();
    this.ready ??= this.context.audioWorklet.addModule("/player-worklet.js");
    await this.ready;
    const node = new AudioWorkletNode(this.context, "player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { total, rate: this.rate },
    });
    node.port.onmessage = ({ data }) => node === this.node && this.#receive(data);
    node.connect(this.context.destination);
    this.node = node;
    this.state = "waiting";
  }

  /** Seconds generated per second; 0 while too little has been generated to estimate it. */
  get speed() {
    const elapsed = (performance.now() - this.began) / 1000;
    return this.began && elapsed > 0.15 ? (this.filled - this.first) / this.rate / elapsed : 0;
  }

  /** Seconds until playback starts, while it waits. */
  get waitSeconds() {
    return wait((this.filled - this.position) / this.rate, (this.total - this.filled) / this.rate, this.speed);
  }

  /** @param {Float32Array} samples The next samples. */
  add(samples) {
    this.filled += samples.length;
    if (!this.began) {
      this.began = performance.now();
      this.first = this.filled;
    }
    this.node?.port.postMessage({ samples });
    this.#startIfEnough();
  }

  /** No more samples will arrive. */
  end() {
    this.ended = true;
    this.node?.port.postMessage({ ended: true });
    this.#startIfEnough();
  }

  /** Continue, or start from the beginning if the end was reached. */
  play() {
    if (!this.node) return;
    if (this.state === "finished") this.node.port.postMessage({ position: (this.position = 0) });
    this.state = "waiting";
    this.#startIfEnough();
    this.changed(this);
  }

  pause() {
    if (!this.node) return;
    this.node.port.postMessage({ playing: false });
    this.state = "paused";
    this.changed(this);
  }

  close() {
    this.node?.port.postMessage({ playing: false, closed: true });
    this.node?.disconnect();
    this.node = null;
    this.state = "idle";
  }

  #startIfEnough() {
    if (this.state !== "waiting") return;
    const left = this.ended ? 0 : (this.total - this.filled) / this.rate;
    if (enough((this.filled - this.position) / this.rate, left, this.speed)) {
      this.state = "playing";
      this.node.port.postMessage({ playing: true });
    }
    this.changed(this);
  }

  #receive({ position, starved, finished }) {
    this.position = position;
    if (this.state === "playing" && (starved || finished)) {
      this.state = finished ? "finished" : "waiting";
      if (starved) this.#startIfEnough();
    }
    this.changed(this);
  }
}

/** At the model's sample rate if the browser supports it, so that nothing is resampled. */
function openContext(rate) {
  try {
    return new AudioContext({ sampleRate: rate });
  } catch {
    return new AudioContext();
  }
}
