from torch import Tensor

class LatentFormat:
    scale_factor: float
    latent_channels: int
    latent_dimensions: int
    spacial_downscale_ratio: int  # spelled so by the host
    temporal_downscale_ratio: int
    def process_in(self, latent: Tensor) -> Tensor: ...
    def process_out(self, latent: Tensor) -> Tensor: ...
