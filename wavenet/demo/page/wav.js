/**
 * A WAV file of 16-bit PCM, with the same bytes as `wavenet generate` writes for these samples.
 * @param {Float32Array} samples In [-1, 1].
 * @param {number} rate Hz.
 * @returns {Blob}
 */
export function wavOf(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((letter, k) => view.setUint8(at + k, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of this chunk
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channel
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, k) => view.setInt16(44 + 2 * k, pcm(sample), true));
  return new Blob([view.buffer], { type: "audio/wav" });
}

/** A sample as 16 bits: rounded, a half to the even number beside it. */
function pcm(sample) {
  const fine = sample * 2 ** 15, up = Math.round(fine);
  const rounded = Math.abs(fine % 1) === 0.5 && up % 2 !== 0 ? up - 1 : up;
  return Math.min(32767, rounded);
}
