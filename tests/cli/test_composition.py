"""Configs that are composed outside of a command, in an application that uses Hydra itself."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException

from tests.configured import CONFIGS
from wavenet.cli.composition import hydra_in
from wavenet.cli.errors import explain_composition_error
from wavenet.cli.settings import settings_of


@pytest.fixture
def application(tmp_path):
    """An application whose own config is composed."""
    (tmp_path / "application.yaml").write_text("speed: 3\n")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield


def test_an_application_keeps_its_state(application):
    with hydra_in(CONFIGS):
        assert compose("generate").num == 1
    assert compose("application").speed == 3
    with pytest.raises(ConfigCompositionException), hydra_in(CONFIGS):
        compose("train", ["sed=3"])
    assert compose("application").speed == 3


def test_without_one_no_state_is_left():
    GlobalHydra.instance().clear()
    with hydra_in(CONFIGS):
        assert GlobalHydra.instance().is_initialized()
    assert not GlobalHydra.instance().is_initialized()


def test_help_and_messages_leave_an_application_its_state(application):
    assert settings_of("push", ["private=true"]).settings
    error = Exception("Could not override 'sed'. Key 'sed' is not in struct")
    assert "did you mean seed?" in explain_composition_error(error, "train", CONFIGS, ["sed=3"])
    assert compose("application").speed == 3
