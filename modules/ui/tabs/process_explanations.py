"""Explanations of the Diffusion process tab's figures: two sentences, a formula and a paper each."""

from __future__ import annotations

FORWARD = r"""
**Forward: a picture becomes noise.** Every step keeps most of the picture and adds a little noise, and after a thousand
steps nothing but noise is left. A network is trained to undo one such step, which is all that a generator needs.

$$q(x_t \mid x_{t-1}) = \mathcal{N}\big(\sqrt{1-\beta_t}\,x_{t-1},\ \beta_t I\big)
\qquad q(x_t \mid x_0) = \mathcal{N}\big(\sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t) I\big)$$

Ho et al. 2020, *Denoising Diffusion Probabilistic Models*, equations 2 and 4
"""
SPACES = r"""
**Pixels or latents.** Stable Diffusion does all of this to the latents of its VAE, 48 times fewer numbers than pixels, and
decodes them only for display. Noise in latents is noise in what the picture shows, not in single dots.

Rombach et al. 2022, *High-Resolution Image Synthesis with Latent Diffusion Models*
"""
MOMENTS = r"""
**Step by step or at once.** The table compares the chain of single steps with one draw of the closed form, which uses
$\bar\alpha_t = \prod_s (1-\beta_s)$. Mean and variance agree but for chance, so training may jump to any step at once.
"""
REVERSE = r"""
**Reverse: noise becomes a picture.** In every step the network looks at the sample and predicts the clean picture
$\hat x_0$; the sampler moves part of the way there. Early steps decide the composition, late ones the details.

$$p_\theta(x_{t-1} \mid x_t) \qquad \hat x_0 = x - \sigma\,\hat\epsilon \qquad
\hat\epsilon = \hat\epsilon_\varnothing + s\,(\hat\epsilon_{\text{prompt}} - \hat\epsilon_\varnothing)$$

Ho et al. 2020; Song et al. 2021, *Score-Based Generative Modeling through Stochastic Differential Equations*
"""
TRAINED = r"""
**What the checkpoint was trained with.** $\beta_t$ is the noise that step $t$ adds, $\bar\alpha_t$ the share of the picture
that is left, and their ratio the signal-to-noise ratio. These are the numbers of this checkpoint.

$$\bar\alpha_t = \prod_{s \le t} (1-\beta_s) \qquad \mathrm{SNR}_t = \frac{\bar\alpha_t}{1-\bar\alpha_t}$$

Ho et al. 2020
"""
SCHEDULES = r"""
**Which noise levels a sampler visits.** A schedule chooses a few noise levels instead of all thousand; the chosen schedule
is highlighted. More levels near zero give finer details, more at the top a calmer composition.

$$\sigma_t = \sqrt{(1-\bar\alpha_t)/\bar\alpha_t} \qquad
\sigma_i = \Big(\sigma_{\max}^{1/\rho} + \tfrac{i}{n-1}\big(\sigma_{\min}^{1/\rho}-\sigma_{\max}^{1/\rho}\big)\Big)^{\rho}$$

Karras et al. 2022, *Elucidating the Design Space of Diffusion-Based Generative Models*, equation 5
"""
HISTOGRAM = r"""
**What is left at the end.** The bars are the values of $x_T$, the line the normal distribution that sampling begins with.
Where both agree, a picture can start from pure noise.

$$x_T \sim \mathcal{N}(0, I)$$

Ho et al. 2020
"""
