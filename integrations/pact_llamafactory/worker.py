"""What torchrun starts in every process, in place of LLaMA-Factory's own launcher file."""

from __future__ import annotations

if __name__ == "__main__":
    from llamafactory.train import tuner

    from pact_llamafactory.activation import install

    install(tuner)
    tuner.run_exp()
