"""Publishing of checkpoints on the Hugging Face hub: `convlstm push runs/NAME owner/name`."""
