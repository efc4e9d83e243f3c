"""Human evaluation: create a study, serve it, analyse its answers."""
