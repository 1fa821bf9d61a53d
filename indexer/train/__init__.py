"""Train the models on judgments, purchase records and feedback: prepare data, train, apply."""
