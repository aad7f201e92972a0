const CUSHION = 0.25; // seconds that lie ready when playing begins
const SAFETY = 1.15; // of the estimate of how long the rest takes to be made

/**
 * Whether playing can begin without running dry before the end.
 * @param {number} ahead Seconds that have arrived and are not played.
 * @param {number} left Seconds that are still to be made.
 * @param {number} speed Seconds made in a second; 0 if not known yet.
 */
export function enough(ahead, left, speed) {
  return left <= 0 || (speed > 0 && ahead >= CUSHION && ahead + left >= (SAFETY * left) / speed);
}

/** Seconds to wait until `enough`, if the speed stays. */
export function wait(ahead, left, speed) {
  if (enough(ahead, left, speed) || speed <= 0) return 0;
  const seconds = ahead + left; // to be played
  return Math.max(0, (SAFETY * left) / speed - seconds) / SAFETY;
}

/** Plays utterances while they arrive; one at a time. */
export class Player {
  /** @param {number} rate Hz. @param {(player: Player) => void} changed Is called when `place` or `state` did. */
  constructor(rate, changed) {
    this.rate = rate;
    this.changed = changed;
    this.state = "idle"; // waiting (for samples), playing, paused, finished
    this.place = 0; // samples
  }

  /** For where the user has just pressed something, or browsers stay silent. Throws where there is no sound. */
  unlock() {
    this.context ??= openContext(this.rate);
    this.context.resume();
  }

  /** Make ready for an utterance. @param {number} total Samples. */
  async begin(total) {
    this.close();
    this.total = total;
    this.filled = this.place = this.began = 0;
    this.ended = false;
    this.unlock();
    this.ready ??= this.context.audioWorklet.addModule("/player-worklet.js");
    await this.ready;
    const node = new AudioWorkletNode(this.context, "player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { total, rate: this.rate },
    });
    node.port.onmessage = ({ data }) => node === this.node && this.#hear(data);
    node.connect(this.context.destination);
    this.node = node;
    this.state = "waiting";
  }

  /** Seconds made in a second; 0 while too little was made to say. */
  get speed() {
    const elapsed = (performance.now() - this.began) / 1000;
    return this.began && elapsed > 0.15 ? (this.filled - this.first) / this.rate / elapsed : 0;
  }

  /** Seconds until playing begins, if it waits. */
  get patience() {
    return wait((this.filled - this.place) / this.rate, (this.total - this.filled) / this.rate, this.speed);
  }

  /** @param {Float32Array} samples That follow. */
  add(samples) {
    this.filled += samples.length;
    if (!this.began) {
      this.began = performance.now();
      this.first = this.filled;
    }
    this.node?.port.postMessage({ samples });
    this.#consider();
  }

  /** No more samples will come. */
  end() {
    this.ended = true;
    this.node?.port.postMessage({ ended: true });
    this.#consider();
  }

  /** Play on, or from the beginning if the end was reached. */
  play() {
    if (!this.node) return;
    if (this.state === "finished") this.node.port.postMessage({ place: (this.place = 0) });
    this.state = "waiting";
    this.#consider();
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

  #consider() {
    if (this.state !== "waiting") return;
    const left = this.ended ? 0 : (this.total - this.filled) / this.rate;
    if (enough((this.filled - this.place) / this.rate, left, this.speed)) {
      this.state = "playing";
      this.node.port.postMessage({ playing: true });
    }
    this.changed(this);
  }

  #hear({ place, starved, finished }) {
    this.place = place;
    if (this.state === "playing" && (starved || finished)) {
      this.state = finished ? "finished" : "waiting";
      if (starved) this.#consider();
    }
    this.changed(this);
  }
}

/** At the model's own rate where a browser can have it, so that nothing is resampled here. */
function openContext(rate) {
  try {
    return new AudioContext({ sampleRate: rate });
  } catch {
    return new AudioContext();
  }
}
