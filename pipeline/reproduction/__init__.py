"""The paper's experiments: its figures, the settings behind them, and the same measured here."""
