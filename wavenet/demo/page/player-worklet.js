/**
 * Plays an utterance that is still arriving, sample for sample and without gaps, from a single array.
 *
 * Receives {samples}, {ended}, {playing} and {position}; sends {position} regularly, {starved} when it has played all
 * samples that have arrived and stops, and {finished} at the end.
 */
class PlayerProcessor extends AudioWorkletProcessor {
  constructor({ processorOptions: { total, rate } }) {
    super();
    this.samples = new Float32Array(total);
    this.filled = 0;
    this.position = 0; // the next sample; fractional where the device does not support the model's rate
    this.step = rate / sampleRate;
    this.playing = this.ended = this.closed = false;
    this.reported = 0;
    this.port.onmessage = ({ data }) => {
      if (data.samples) {
        this.samples.set(data.samples, this.filled);
        this.filled += data.samples.length;
      }
      this.ended = data.ended ?? this.ended;
      this.playing = data.playing ?? this.playing;
      this.position = data.position ?? this.position;
      this.closed = data.closed ?? this.closed;
    };
  }

  process(_, [[out]]) {
    for (let k = 0; k < out.length && this.playing; k++) {
      const before = Math.floor(this.position), share = this.position - before;
      const needed = share > 0 && !this.ended ? before + 1 : before;
      if (needed >= this.filled) {
        this.playing = false;
        const { filled, position } = this;
        this.port.postMessage(this.ended ? { finished: true, position: filled } : { starved: true, position });
        break;
      }
      const after = before + 1 < this.filled ? this.samples[before + 1] : 0;
      out[k] = share > 0 ? this.samples[before] * (1 - share) + after * share : this.samples[before];
      this.position += this.step;
    }
    if (this.playing && currentTime - this.reported > 0.04) {
      this.reported = currentTime;
      this.port.postMessage({ position: this.position });
    }
    return !this.closed;
  }
}

registerProcessor("player", PlayerProcessor);
