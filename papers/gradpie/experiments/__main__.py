"""``python -m papers.gradpie.experiments NAME``."""

from common.experiments import experiment_command

NAMES = [
    "cnon_gradients",
    "cnon_offline",
    "cnon_online",
    "cnon_ablation",
    "opamp_online",
    "opamp_ablation",
    "opamp_settings",
    "owms_online",
    "owms_peers",
    "plus_tuning",
    "plus_cnon",
    "plus_opamp",
    "plus_owms",
]

if __name__ == "__main__":
    experiment_command("gradpie", NAMES)
