"""The network: backbones, heads' output layers, losses."""
