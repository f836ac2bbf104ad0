"""What every part may use: errors, kept files, progress, sheets of pictures; and the data that ship."""
