"""The models beside the encoder-forecaster of `convlstm.models`, one a file, and the parts that they share."""
