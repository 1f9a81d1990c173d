"""How candidates learn: together, apart, one after the other, or by scikit-learn's estimators."""
