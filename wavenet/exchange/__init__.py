"""Models that go to other programs, or come from them: `onnx` exports one, `wavenet_vocoder` takes one over."""
