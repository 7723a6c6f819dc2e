import torch

class SDClipModel(torch.nn.Module):
    transformer: torch.nn.Module
