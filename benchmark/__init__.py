"""TumorBoard: which vision backbone to use for brain-tumour MRI, settled fairly."""

__version__ = "0.1.0"
