"""What people look at: tables of commands, pages, artifacts. Nothing here decides or changes anything."""
