"""Networks: layers and trunks, heads, distributions, and the policies that agents act by."""
