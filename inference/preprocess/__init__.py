"""From a diffusion pair to the network's input, the order of PIRTA section 2.3.1."""
