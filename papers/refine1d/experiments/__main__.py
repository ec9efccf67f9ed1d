"""``python -m papers.refine1d.experiments NAME``."""

from common.experiments import experiment_command

NAMES = [
    "table1", "trajectories", "escapes", "classes", "ablation", "examples",
    "posterior_ablation", "posterior_setting", "posterior_range", "posterior_outside", "posterior_sequential",
]  # fmt: skip

if __name__ == "__main__":
    experiment_command("refine1d", NAMES)
