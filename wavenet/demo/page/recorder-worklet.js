/** Sends the microphone's samples, averaged over the channels. */
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
