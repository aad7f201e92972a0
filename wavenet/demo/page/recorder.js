import { wavOf } from "/wav.js";

const REASONS = {
  NotAllowedError: "The browser blocks the microphone; allow it in the address bar, or choose a file.",
  NotFoundError: "No microphone was found; connect one, or choose a file.",
  NotReadableError: "The microphone is in use by another program; close it, or choose a file.",
};

/** Records the microphone as WAV: the browsers' own recorder compresses, in formats that few programs read. */
export class Recorder {
  /** @param {(seconds: number) => void} ticked Called while it records. */
  constructor(ticked) {
    this.ticked = ticked;
    this.chunks = [];
    this.length = 0; // samples
  }

  /** Start recording. Throws an Error with a message for the user. */
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
      this.chunks.push(data);
      this.length += data.length;
      this.ticked(this.length / this.context.sampleRate);
    };
    this.context.createMediaStreamSource(this.stream).connect(node);
  }

  /** Stop recording. @returns {Blob} The WAV file. */
  stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    const samples = new Float32Array(this.length);
    let offset = 0;
    for (const chunk of this.chunks) {
      samples.set(chunk, offset);
      offset += chunk.length;
    }
    this.context.close();
    return wavOf(samples.map((sample) => Math.min(1, Math.max(-1, sample))), this.context.sampleRate);
  }
}
