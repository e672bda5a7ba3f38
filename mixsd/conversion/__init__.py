"""From files that others write to facts: data sets of edits, chats, tables and graphs."""
