const WINDOW = 0.032; // seconds
const MOST_COLUMNS = 1200;
const LOW = -100; // dB, where a full-scale sine is 0; the darkest colour
const HIGH = -20;
const MAGMA = [
  [0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97],
  [254, 194, 135], [252, 253, 191],
]; // matplotlib's magma colour map, in steps of an eighth

/** The waveform and the spectrogram of an utterance, drawn from left to right as its samples arrive. */
export class Picture {
  /** @param {HTMLCanvasElement} wave @param {HTMLCanvasElement} spectrogram */
  constructor(wave, spectrogram) {
    this.wave = wave;
    this.spectrogram = spectrogram;
  }

  /**
   * @param {Float32Array} samples The whole utterance's samples, filled from the beginning.
   * @param {number} rate Hz.
   */
  begin(samples, rate) {
    this.samples = samples;
    this.size = Math.max(64, 2 ** Math.round(Math.log2(WINDOW * rate)));
    this.columns = Math.max(1, Math.min(MOST_COLUMNS, Math.ceil((8 * samples.length) / this.size)));
    this.drawn = 0;
    const hann = (_, k) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (k + 0.5)) / this.size);
    this.window = Float64Array.from({ length: this.size }, hann);
    this.scale = 2 / this.window.reduce((sum, weight) => sum + weight, 0); // so that a full-scale sine is 0 dB
    this.spectrogram.width = this.wave.width = this.columns; // which also clears them
    this.spectrogram.height = this.size / 2;
    this.brush = this.spectrogram.getContext("2d");
    this.pen = this.wave.getContext("2d");
    this.pen.fillStyle = getComputedStyle(this.wave).getPropertyValue("--accent");
    this.column = this.brush.createImageData(1, this.size / 2);
  }

  /**
   * Draw the columns whose samples have arrived.
   * @param {number} filled Samples that have arrived.
   * @param {boolean} ended Whether no more samples will arrive.
   */
  draw(filled, ended) {
    const width = this.samples.length / this.columns;
    for (; this.drawn < this.columns; this.drawn++) {
      const middle = (this.drawn + 0.5) * width;
      const last = Math.min(this.samples.length, Math.max(middle + this.size / 2, middle + width / 2));
      if (filled < last && !(ended && this.drawn * width < filled)) return;
      this.#waveformColumn(Math.floor(this.drawn * width), Math.min(filled, Math.ceil((this.drawn + 1) * width)));
      this.#spectrumColumn(Math.round(middle - this.size / 2), filled);
    }
  }

  /** Draw the range of the column's samples. */
  #waveformColumn(first, last) {
    const { height } = this.wave;
    const range = this.samples.subarray(first, Math.max(last, first + 1));
    const low = Math.min(...range), high = Math.max(...range);
    this.pen.fillRect(this.drawn, ((1 - high) / 2) * height, 1, Math.max(1, ((high - low) / 2) * height));
  }

  /** Draw the column's spectrum. */
  #spectrumColumn(start, filled) {
    const re = new Float64Array(this.size), im = new Float64Array(this.size);
    for (let k = Math.max(0, -start); k < this.size && start + k < filled; k++) {
      re[k] = this.samples[start + k] * this.window[k];
    }
    transform(re, im);
    const bins = this.size / 2;
    for (let bin = 0; bin < bins; bin++) {
      const level = 20 * Math.log10(Math.hypot(re[bin], im[bin]) * this.scale + 1e-9);
      const [red, green, blue] = colour((level - LOW) / (HIGH - LOW));
      this.column.data.set([red, green, blue, 255], 4 * (bins - 1 - bin));
    }
    this.brush.putImageData(this.column, this.drawn, 0);
  }
}

/** The colour of a level. @param {number} level 0 to 1. */
function colour(level) {
  const position = Math.min(1, Math.max(0, level)) * (MAGMA.length - 1);
  const below = Math.min(Math.floor(position), MAGMA.length - 2);
  return MAGMA[below].map((value, k) => value + (MAGMA[below + 1][k] - value) * (position - below));
}

/** The discrete Fourier transform of a power of two of complex numbers, in place (Cooley and Tukey, 1965). */
export function transform(re, im) {
  const size = re.length;
  for (let k = 1, mirrored = 0; k < size; k++) {
    let bit = size >> 1;
    for (; mirrored & bit; bit >>= 1) mirrored ^= bit;
    mirrored ^= bit;
    if (k < mirrored) {
      [re[k], re[mirrored]] = [re[mirrored], re[k]];
      [im[k], im[mirrored]] = [im[mirrored], im[k]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((Math.PI * k) / half), sin = -Math.sin((Math.PI * k) / half);
      for (let even = k; even < size; even += 2 * half) {
        const odd = even + half;
        const x = re[odd] * cos - im[odd] * sin, y = re[odd] * sin + im[odd] * cos;
        re[odd] = re[even] - x;
        im[odd] = im[even] - y;
        re[even] += x;
        im[even] += y;
      }
    }
  }
}
