"""The command line: the only room that knows Hydra, the configurations, the data sets and the models together."""
