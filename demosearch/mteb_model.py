"""For existing imports; see `demosearch.integrations.mteb_model`."""

from demosearch.integrations.mteb_model import MtebModel as MtebModel
