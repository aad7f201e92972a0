/**
 * Plays an utterance that is still arriving, sample for sample: there are no seams, as there is only one array.
 *
 * Takes {samples}, {ended}, {playing} and {place}; says {place} now and then, {starved} when it has played all that has
 * arrived and stops for that, and {finished} at the end.
 */
class PlayerProcessor extends AudioWorkletProcessor {
  constructor({ processorOptions: { total, rate } }) {
    super();
    this.samples = new Float32Array(total);
    this.filled = 0;
    this.place = 0; // the next sample; a fraction where the device cannot have the model's rate
    this.step = rate / sampleRate;
    this.playing = this.ended = this.closed = false;
    this.said = 0;
    this.port.onmessage = ({ data }) => {
      if (data.samples) {
        this.samples.set(data.samples, this.filled);
        this.filled += data.samples.length;
      }
      this.ended = data.ended ?? this.ended;
      this.playing = data.playing ?? this.playing;
      this.place = data.place ?? this.place;
      this.closed = data.closed ?? this.closed;
    };
  }

  process(_, [[out]]) {
    for (let k = 0; k < out.length && this.playing; k++) {
      const before = Math.floor(this.place), share = this.place - before;
      const needed = share > 0 && !this.ended ? before + 1 : before;
      if (needed >= this.filled) {
        this.playing = false;
        const { filled, place } = this;
        this.port.postMessage(this.ended ? { finished: true, place: filled } : { starved: true, place });
        break;
      }
      const after = before + 1 < this.filled ? this.samples[before + 1] : 0;
      out[k] = share > 0 ? this.samples[before] * (1 - share) + after * share : this.samples[before];
      this.place += this.step;
    }
    if (this.playing && currentTime - this.said > 0.04) {
      this.said = currentTime;
      this.port.postMessage({ place: this.place });
    }
    return !this.closed;
  }
}

registerProcessor("player", PlayerProcessor);
