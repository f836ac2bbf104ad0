"""What the step is made of: the rules, its randomness, what the discriminator is shown, augmentation."""
