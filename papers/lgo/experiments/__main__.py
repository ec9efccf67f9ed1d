"""``python -m papers.lgo.experiments NAME``."""

from common.experiments import experiment_command

NAMES = [
    "local_search",
    "local_search_general",
    "local_search_ablation",
    "escaping",
    "escaping_settings",
    "benchmarks",
    "networks",
    "plus_direction",
    "plus_local_search",
    "plus_escaping",
    "plus_tuning",
]

if __name__ == "__main__":
    experiment_command("lgo", NAMES)
