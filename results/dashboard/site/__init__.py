"""How pages reach their readers: rendered, served with the guard before them, or exported as a folder."""
