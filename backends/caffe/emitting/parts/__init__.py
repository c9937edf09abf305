"""What emitters are made of: computations in stock layers, and the layers of one node under construction."""
