"""Private parts and wording of other packages that this one uses: a release that changes them fails here first.

Each of them has an upper bound in pyproject.toml, which is raised once this file passes with its next release.
"""

import inspect
import re
import signal
import subprocess
import tomllib

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from packaging.requirements import Requirement
from torch import nn
from torch.nn.modules.module import _has_any_global_hook, register_module_forward_hook

from tests.configured import CONFIGS
from tests.conftest import ROOT
from wavenet.native import code_cache, instructions


@pytest.mark.parametrize("package", ["lightning", "hydra-core", "numba", "torch"])
def test_packages_with_private_parts_have_an_upper_bound(package):
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (specifier,) = [r.specifier for r in map(Requirement, dependencies) if r.name == package]
    assert any(each.operator == "<" for each in specifier), specifier


def test_lightnings_launcher_sends_a_signal_to_its_processes():
    """`LastCheckpoint` hands signals on by it."""
    launcher = _SubprocessScriptLauncher.__new__(_SubprocessScriptLauncher)
    launcher.procs = [subprocess.Popen(["sleep", "60"])]
    launcher.kill(signal.SIGTERM)
    assert launcher.procs[0].wait(timeout=10) == -signal.SIGTERM


def test_torch_says_whether_there_are_hooks_for_all_modules():
    assert not _has_any_global_hook()
    handle = register_module_forward_hook(lambda *_: None)
    try:
        assert _has_any_global_hook()
    finally:
        handle.remove()


def test_torch_averages_lists_of_tensors_in_place():
    averaged = [torch.zeros(2), torch.ones(1)]
    torch._foreach_lerp_(averaged, [torch.ones(2), torch.zeros(1)], 0.25)
    assert [each.tolist() for each in averaged] == [[0.25, 0.25], [0.75]]


def test_modules_keep_their_hooks_and_children_where_they_are_looked_for():
    module = nn.Sequential(nn.ReLU())
    assert list(module._modules) == ["0"]
    for hooks, register in {
        "_forward_hooks": module.register_forward_hook,
        "_forward_pre_hooks": module.register_forward_pre_hook,
        "_backward_hooks": module.register_full_backward_hook,
        "_backward_pre_hooks": module.register_full_backward_pre_hook,
    }.items():
        assert len(getattr(module, hooks)) == 0
        register(lambda *_: None)
        assert len(getattr(module, hooks)) == 1


def test_numbas_cache_compares_the_stamp_that_we_add_to():
    """Else code that was compiled of an earlier version of our files would be run."""
    compiled = instructions.jit(lambda x: x + 1)
    index = compiled._cache._cache_file
    assert index._source_stamp[1] == code_cache.DIGEST
    assert "_source_stamp" in inspect.getsource(type(index)._load_index)


def test_numbas_intrinsics_get_an_llvm_builder():
    add = instructions.instruction(instructions.types.int64, instructions.types.int64)(
        lambda builder, x: builder.add(x, x.type(3))
    )
    assert instructions.njit(lambda x: add(x))(4) == 7


def composition_error(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"), pytest.raises(Exception) as error:
        compose("train", list(overrides))
    return error.value


@pytest.mark.parametrize(
    ("override", "kind", "wording"),
    [
        ("modle.bias=true", ConfigCompositionException, r"override.*'modle\.bias'"),
        ("+seed=3", ConfigCompositionException, r"append.*'seed'"),
        ("~nothing", ConfigCompositionException, r"delete.*'nothing'"),
        ("seed=1,2", ConfigCompositionException, r"^Ambiguous value for argument 'seed=1,2'"),
        ("seed=[1", OverrideParseException, r"\n"),
    ],
)
def test_hydra_words_its_errors_as_they_are_read(override, kind, wording):
    error = composition_error(override)
    assert isinstance(error, kind)
    assert re.search(wording, str(error))
    if isinstance(error, OverrideParseException):
        assert error.override == override and len(error.message.split("\n")) > 1


def test_hydra_lists_the_files_of_a_config():
    """`wavenet.cli.settings` reads their comments."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        files = loader.compute_defaults_list("train", ["trainer=gpu"], RunMode.RUN).defaults
        runtime = loader.load_configuration("train", ["trainer=gpu"], RunMode.RUN).hydra.runtime
    found = [(each.config_path, each.package) for each in files if each.config_path.startswith("trainer/")]
    assert found == [("trainer/base", "trainer"), ("trainer/gpu", "trainer")]
    assert runtime.choices.trainer == "gpu" and runtime.choices.experiment is None
    assert (str(CONFIGS), "file") in [(source.path, source.schema) for source in runtime.config_sources]


def test_hydra_names_the_missing_option_and_the_failing_target():
    missing = composition_error("model=nothing")
    assert missing.missing_cfg_file == "model/nothing" and "small" in missing.options
    with pytest.raises(InstantiationException) as error:
        instantiate({"model": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": "many"}})
    assert re.search(r"target '([\w.]+)'", str(error.value))[1] == "torch.nn.modules.linear.Linear"
    assert re.search(r"full_key: (\S+)", str(error.value))[1] == "model"
    assert error.value.__cause__ is not None
