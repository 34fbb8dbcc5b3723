"""All models except the encoder-forecaster of `convlstm.models`, each in its own file, and the parts they share."""
