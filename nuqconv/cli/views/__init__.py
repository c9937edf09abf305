"""What commands show, one module for each kind of thing."""
