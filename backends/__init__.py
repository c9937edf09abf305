"""Writers and runtimes: Graph -> files of a framework, or a session that runs them."""
