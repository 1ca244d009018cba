"""Publishing: a board or a kept model, made fit to be given away, into a folder or to Hugging Face."""
