"""Human evaluation: people rank anonymous systems' pictures of the same captions (paper, section 6.1)."""
