"""The conformance suite: what every backbone, built in or contributed, must hold to."""
