"""What a run records: rows of metrics.jsonl, times of steps, and curves for TensorBoard, wandb and trackio."""
