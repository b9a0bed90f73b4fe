"""Recipes of papers on posteriors and on decoders.

Above each stand the paper, the row it is to reproduce, and what is not as in the paper. Values come from the paper, or where it
is named so from its authors' published code; "not verified" marks what could be looked up in neither.
"""

from collections.abc import Mapping
from typing import Any

# Van den Berg, Hasenclever, Tomczak and Welling 2018 (arXiv 1803.05649), section 6 and table 1, static MNIST, with the values
# of the authors' code (riannevdberg/sylvester-flows, main_experiment.py and README): 64 latents, Adamax with rate 5e-4 and
# eps 1e-7, batches of 100, warm-up over 100 epochs, at most 2,000 epochs, and an end after 100 without a better validation
# bound; four flows, eight columns or reflections, MADEs of 320 units. Table 1 may have more and wider flows (not verified).
# What differs: their networks are six gated convolutions each way, ours the gated 300-300 of Tomczak and Welling 2018; their
# 100 epochs begin to count only after the warm-up. The numbers of table 1 are negative ELBOs.
_FLOW_MODEL: dict[str, Any] = {
    "latent_dim": 64,
    "network": {"kind": "gated-mlp", "hidden": [300, 300]},
    "likelihood": "bernoulli",
}
_FLOW_OBJECTIVE = {"kind": "elbo", "warmup_epochs": 100}
_FLOW_TRAINING = {"epochs": 2000, "batch_size": 100, "optimizer": "adamax", "lr": 5e-4, "eps": 1e-7, "patience": 100}


def _flow(posterior: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"model": _FLOW_MODEL | {"posterior": posterior}, "objective": _FLOW_OBJECTIVE, "training": _FLOW_TRAINING}


PARTS: Mapping[str, Mapping[str, Any]] = {
    # Row VAE: 86.55 nats.
    "sylvester-vae": _flow({"kind": "gaussian"}),
    # Row planar: 86.06 nats.
    "planar": _flow({"kind": "planar", "flows": 4}),
    # Row IAF: 84.20 nats. What differs besides: their scales are sigmoids (Kingma et al. 2016, arXiv 1606.04934), ours
    # bounded exponentials; their summary of x, 320 units for all flows, is added to the hidden layer, ours goes in beside z.
    "iaf": _flow({"kind": "iaf", "flows": 4, "hidden": [320], "summary": 320}),
    # Row O-SNF: 83.32 nats.
    "sylvester": _flow({"kind": "sylvester", "flows": 4, "variant": "orthogonal", "width": 8}),
    # Row H-SNF (the number is not verified).
    "sylvester-householder": _flow({"kind": "sylvester", "flows": 4, "variant": "householder", "reflections": 8}),
    # Row T-SNF (the number is not verified).
    "sylvester-triangular": _flow({"kind": "sylvester", "flows": 4, "variant": "triangular"}),
    # Jang, Gu and Poole 2017 (arXiv 1611.01144), table 1, VAE with categorical latents, Gumbel-softmax (the number is not
    # verified). From the first author's notebook (ericjang/gumbel-softmax), whose sizes may not be the table's: 30 variables
    # of 10 classes, 512-256 ReLU, batches of 100, 50,000 steps; every 1,000 steps the rate is taken times 0.9, and the
    # temperature becomes exp(-3e-5 step), not below 0.5. What differs: their temperature falls in stairs, ours at every step,
    # to 0.5 at step 23,105; our rate falls every two epochs, which are 1,000 steps where there are 50,000 training data.
    "gumbel": {
        "model": {
            "latent_dim": 30,
            "network": {"kind": "mlp", "hidden": [512, 256]},
            "likelihood": "bernoulli",
            "posterior": {
                "kind": "categorical",
                "classes": 10,
                "estimator": "gumbel",
                "temperature": 1.0,
                "final_temperature": 0.5,
                "temperature_steps": 23105,
            },
        },
        "training": {
            "steps": 50000,
            "batch_size": 100,
            "lr": 1e-3,
            "schedule": "step",
            "step_epochs": 2,
            "step_factor": 0.9,
        },
    },
    # Davidson, Falorsi, De Cao, Kipf and Tomczak 2018 (arXiv 1804.00891), table 1, dynamically binarized MNIST, S-VAE on the
    # sphere in 11 dimensions (d = 10): 93.16 nats, by 500 samples. From the authors' code (nicola-decao/s-vae-pytorch,
    # examples/mnist.py): 256-128 ReLU, batches of 64, Adam with rate 1e-3. Length, patience and warm-up are not verified.
    # What differs: they add 1 to the concentration.
    "hyperspherical": {
        "data": {"binarize": "dynamic"},
        "model": {
            "latent_dim": 11,
            "network": {"kind": "mlp", "hidden": [256, 128]},
            "likelihood": "bernoulli",
            "posterior": {"kind": "vmf"},
        },
        "objective": {"kind": "elbo", "warmup_epochs": 100},
        "training": {"epochs": 1000, "batch_size": 64, "lr": 1e-3, "patience": 50},
    },
    # Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez and Courville 2017 (arXiv 1611.05013), table 1, binarized MNIST, gated
    # PixelVAE without upsampling (the number is not verified). From the authors' code (igul222/PixelVAE, README and
    # mnist_pixelvae_train.py): 16 latents, 12 gated layers of 16 channels with kernel 5, batches of 100, Adam with rate 1e-3,
    # 200,000 steps, warm-up over 10,000. What differs: their z is a bias of every gate, ours a map of 16 channels that every
    # layer sees; they have one more layer, the first, with kernel 7; their encoder has eight convolutions with weight
    # normalization, ours three.
    "pixelvae": {
        "model": {
            "latent_dim": 16,
            "posterior": {"kind": "gaussian", "network": {"kind": "conv", "channels": [32, 64, 64]}},
            "likelihood": {
                "kind": "pixelcnn",
                "channels": 16,
                "layers": 12,
                "kernel": 5,
                "context_channels": 16,
                "network": {"kind": "mlp", "hidden": []},
            },
        },
        "objective": {"kind": "elbo", "warmup_steps": 10000},
        "training": {"steps": 200000, "batch_size": 100, "lr": 1e-3},
    },
    # Kim, Wiseman, Miller, Sontag and Rush 2018 (arXiv 1802.02550), the table on Omniglot, SA-VAE with 20 steps (its place
    # and number are not verified). From the authors' code (harvardnlp/sa-vae, train_img.py): 32 latents; a decoder of 12
    # gated layers of 32 channels that sees z as a map of 4; batches of 50, Adam with rate 1e-3, gradients clipped at 5,
    # warm-up over 10 epochs, 100 epochs. What differs: their 20 steps have rate 1, momentum 0.5 and fresh noise, ours follow
    # the natural gradient under common noise and never lower the bound; their kernels go from 9 down to 3, ours are 5; their
    # encoder is residual; their warm-up begins at 0.1.
    "semi-amortized": {
        "data": {"binarize": "dynamic"},
        "model": {
            "latent_dim": 32,
            "posterior": {
                "kind": "semi-amortized",
                "steps": 20,
                "end_to_end": True,
                "network": {"kind": "conv", "channels": [64, 64, 64], "norm": "batch"},
            },
            "likelihood": {
                "kind": "pixelcnn",
                "channels": 32,
                "layers": 12,
                "kernel": 5,
                "context_channels": 4,
                "network": {"kind": "mlp", "hidden": []},
            },
        },
        "objective": {"kind": "elbo", "warmup_epochs": 10},
        "training": {"epochs": 100, "batch_size": 50, "lr": 1e-3, "clip_norm": 5.0},
    },
}
"""Recipes by name."""
