"""What the papers share: objectives, functions, optimizers, metrics, training, reporting."""
