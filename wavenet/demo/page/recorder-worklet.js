/** Hands on what the microphone hears, channel by channel averaged. */
class RecorderProcessor extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length > 0) {
      const mean = (_, k) => channels.reduce((sum, each) => sum + each[k], 0) / channels.length;
      this.port.postMessage(channels[0].map(mean));
    }
    return true;
  }
}

registerProcessor("recorder", RecorderProcessor);
