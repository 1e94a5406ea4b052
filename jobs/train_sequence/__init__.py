"""Training a sequence model as a challenger (`python -m jobs.train_sequence`): needs the extra `sequence`."""
