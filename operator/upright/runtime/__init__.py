"""What runs inside pods: `data` and `publish` around a training program, `serve` around a model."""
