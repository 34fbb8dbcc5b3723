"""Between xarray and this project: Datasets as input of models, forecasts and archives as Datasets.

The only folder below the command line that knows the data sets and readers: a Dataset is read as a CF file is.
"""
