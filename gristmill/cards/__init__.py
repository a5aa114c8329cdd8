"""What goes along with a registered model: a model card, a data card, tags; all made from records."""
