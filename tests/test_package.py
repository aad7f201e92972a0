import subprocess
import sys

import pytest

import wavenet

pytestmark = pytest.mark.slow


def test_import_is_light():
    code = "import sys, wavenet; print(sorted({'torch', 'lightning', 'hydra', 'matplotlib'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_using_a_model_needs_neither_lightning_nor_hydra():
    heavy = "{'lightning', 'hydra', 'matplotlib', 'huggingface_hub'}"
    code = f"import sys, wavenet; wavenet.load, wavenet.stream; print(sorted({heavy} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_commands_that_do_not_train_need_no_lightning():
    names = ("generate", "evaluate", "demo", "prepare", "push", "export_onnx", "import_")
    imports = "; ".join(f"import wavenet.cli.{name}" for name in names)
    code = f"import sys; {imports}; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_public_names():
    for name in wavenet.__all__:
        assert getattr(wavenet, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wavenet.nothing
    code = "import wavenet; print(set(wavenet.__all__) <= set(dir(wavenet)))"  # before any is imported
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
