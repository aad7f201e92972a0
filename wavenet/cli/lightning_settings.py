"""Settings of Lightning's Trainer that a run does not take, each with the reason and what to use instead."""

_NO_EPOCHS = "segments are drawn from all recordings without end, so a run has steps and no epochs"

REFUSED = {
    "max_epochs": f"{_NO_EPOCHS}; use trainer.max_steps",
    "min_epochs": f"{_NO_EPOCHS}; use trainer.max_steps",
    "min_steps": "a run ends after trainer.max_steps, by trainer.max_time or by callbacks=early_stopping; raise these",
    "limit_train_batches": f"{_NO_EPOCHS}; trainer.overfit_batches=N repeats the first N batches",
    "check_val_every_n_epoch": f"{_NO_EPOCHS}; trainer.val_check_interval is in steps",
    "reload_dataloaders_every_n_epochs": f"{_NO_EPOCHS}; remove it",
    "limit_test_batches": "training does not test; use the evaluate command",
    "limit_predict_batches": "training does not predict; use the generate command",
    "num_sanity_val_steps": "trainer.fast_dev_run=true tries a step, a validation and samples; use that",
    "enable_checkpointing": "a run can always be resumed; save_every_n_steps says how often it is saved",
    "enable_model_summary": "the run prints the model's size; print(wavenet.load(RUN)) lists its modules",
    "enable_autolog_hparams": "each logger gets the settings once, from the run; logger=none logs nothing",
    "default_root_dir": "use run_dir",
    "logger": "it is a group of its own; use logger=tensorboard, csv, wandb or none",
    "callbacks": "it is a group of its own; use callbacks=early_stopping, or a YAML of yours",
    "plugins": "a run brings its own, for checkpoints and clusters; remove it",
    "model_registry": "it belongs to a commercial service; use the push command",
    "use_distributed_sampler": "every process draws segments of its own already; remove it",
    "sync_batchnorm": "a network with batch normalisation would not be causal; remove it",
    "barebones": "a run needs checkpoints; logger=none trainer.enable_progress_bar=false turns off the rest",
}  # fmt: skip


def refusal(key: str) -> str | None:
    """Return why a run does not take a setting; None if it is not refused.

    >>> refusal("trainer.default_root_dir"), refusal("trainer.max_steps")
    ('trainer.default_root_dir is not a setting of a run: use run_dir', None)
    """
    group, _, name = key.partition(".")
    reason = REFUSED.get(name) if group == "trainer" else None
    return None if reason is None else f"{key} is not a setting of a run: {reason}"
