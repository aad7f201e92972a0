"""Export of models to other programs, and import from them.

`export_onnx` writes what onnxruntime needs to generate without torch; `load_wavenet_vocoder` imports a checkpoint
of r9y9's wavenet_vocoder. On the command line they are `wavenet export onnx` and `wavenet import`.
"""

from wavenet.exchange.onnx import export as export_onnx
from wavenet.exchange.wavenet_vocoder import Imported
from wavenet.exchange.wavenet_vocoder import load as load_wavenet_vocoder

__all__ = ["Imported", "export_onnx", "load_wavenet_vocoder"]
