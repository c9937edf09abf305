"""The smallest part of a model that still differs in two runtimes, or with which a command still fails; see `nuqconv.reduce`."""
