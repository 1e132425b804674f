"""What is measured, for anybody to repeat: speed, learning, rewards, the estimator, talk between processes."""
