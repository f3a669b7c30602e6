"""``pact new-plugin``: a package of one's own, with a working hook of each chosen kind, from the templates beside.

Nothing heavy is imported here: the command line reads the names of the kinds at every start.
"""

from pact_plugins.new_plugin.kinds import DEFAULT_KIND, KINDS
from pact_plugins.new_plugin.writing import LICENCES, write_plugin

__all__ = ["DEFAULT_KIND", "KINDS", "LICENCES", "write_plugin"]
