"""How good the forecasts of capacity are, beside statsforecast, Prophet and predict_linear on the same tasks."""
