"""One module or folder per engine or wire. Which there are says `playbill.backends.catalogue`, not this folder."""
