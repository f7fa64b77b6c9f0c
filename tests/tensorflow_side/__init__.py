"""What the TensorFlow tests run in processes of their own: registering a kernel is for good."""
