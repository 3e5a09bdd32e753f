"""What runs do in the long run and in the mean: noise, fitted rates, spectra, and what methods do not do."""
