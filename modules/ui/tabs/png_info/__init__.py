"""The PNG Info tab: the infotext of an image file, sent to a form or reproduced and compared."""
