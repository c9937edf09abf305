"""What lowerings are made of: operands, layers of many nodes, and the forms of quantized layers."""
