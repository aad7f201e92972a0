"""Make a model of the package, in data/models: package_model.py NAME [unheard=FOLDER] [SETTING=VALUE ...].

NAME is babble or vocoder. It is trained as configs/experiment/packaged_NAME.yaml states, in runs/packaged-NAME; if that
run is there, it goes on, or is used as it is if it is complete. Then it is evaluated on its held-out recordings (for a
vocoder that needs pip install -e ".[report]") and saved, with the scores on its card.

unheard=FOLDER       also resynthesises recordings of speakers that the model never heard; prompts: the package's
evaluate.KEY=VALUE   a setting of both evaluations, such as evaluate.resynthesis.utterances=10
models=FOLDER        instead of data/models
All others are settings of training, such as run_dir=FOLDER or trainer.max_steps=100.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout: this is not part of the installed package
    from scripts.packaged_models.command import main

    main(sys.argv[1:], __doc__ or "")
