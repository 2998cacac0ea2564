"""The exclusion list: what an entry is (`entry`), finding near ones (`index`), what a lookup answers (`matcher`)."""
