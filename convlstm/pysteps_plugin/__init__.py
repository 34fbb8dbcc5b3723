"""Forecasts of this package as a nowcasting method of pysteps, https://pysteps.github.io.

    from convlstm.pysteps_plugin import register

    register()
    nowcast = pysteps.nowcasts.get_method("convlstm")

pysteps is imported by `register` alone. `forecast` works without it.
"""

from convlstm.pysteps_plugin.nowcast import forecast
from convlstm.pysteps_plugin.registration import register

__all__ = ["forecast", "register"]
