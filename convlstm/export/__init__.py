"""Export of trained models to files that run without this package: `convlstm export`."""
