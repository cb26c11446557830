"""What is deleted, when somebody asks for it or when its time is over, and what lies where."""
