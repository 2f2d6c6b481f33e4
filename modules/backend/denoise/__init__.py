"""The denoising loop: sampler as scheduler, guidance, progress and recorder."""
