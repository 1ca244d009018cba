"""The worker: the process in which runs of one framework are trained and measured."""
