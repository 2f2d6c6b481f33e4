"""The denoising loop: sampler as scheduler, guidance, progress, recorder."""
