"""The anchor: replies that the reference itself gave, and the divergence from it on them."""
