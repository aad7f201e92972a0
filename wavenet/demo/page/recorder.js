import { wavOf } from "/wav.js";

const REASONS = {
  NotAllowedError: "The browser may not use the microphone; allow it beside this page's address, or choose a file.",
  NotFoundError: "There is no microphone here; choose a file.",
  NotReadableError: "The microphone is in use by another program; end that, or choose a file.",
};

/** Records the microphone as WAV: what browsers record by themselves is compressed, in formats that few can read. */
export class Recorder {
  /** @param {(seconds: number) => void} ticked Is called while it records. */
  constructor(ticked) {
    this.ticked = ticked;
    this.pieces = [];
    this.length = 0; // samples
  }

  /** Throws an Error that says what is wrong. */
  async start() {
    try {
      const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone cannot be used (${error.message}); choose a file.`);
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/recorder-worklet.js");
    const node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => {
      this.pieces.push(data);
      this.length += data.length;
      this.ticked(this.length / this.context.sampleRate);
    };
    this.context.createMediaStreamSource(this.stream).connect(node);
  }

  /** @returns {Blob} The WAV file. */
  stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    const samples = new Float32Array(this.length);
    let place = 0;
    for (const piece of this.pieces) {
      samples.set(piece, place);
      place += piece.length;
    }
    this.context.close();
    return wavOf(samples.map((sample) => Math.min(1, Math.max(-1, sample))), this.context.sampleRate);
  }
}
